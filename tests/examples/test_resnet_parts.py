"""The parts of the training jobs that need no ranks: schedule, options, loop, records, checkpoints."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from tests.examples import events
from tests.examples.resnet import options, schedule
from tests.examples.resnet.checkpoints import Checkpoints
from tests.examples.resnet.records import Records
from wagma_rma import Outcome

# The schedule.


def test_the_rate_rises_to_its_peak_and_falls_along_a_cosine_to_zero():
    rates = [schedule.rate(step, 100, 0.4, 10) for step in range(101)]
    assert rates[0] == pytest.approx(0.4 / 11)
    assert np.diff(rates[:11]) == pytest.approx(np.full(10, 0.4 / 11))
    assert rates[10] == max(rates) == pytest.approx(0.4)
    assert rates[55] == pytest.approx(0.2)
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[100] == pytest.approx(0)
    assert schedule.rate(0, 10, 0.4, 0) == pytest.approx(0.4)
    assert schedule.rate(200, 100, 0.4, 10) == pytest.approx(0)


# Options.


def refusal(capsys, command):
    with pytest.raises(SystemExit) as ended:
        options.parse(command.split())
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("--steps 95", "--steps 95 is not a multiple of --sync-period 10"),
        ("--steps 95", "pass --steps 100"),
        ("--evaluate-every 15 --sync-period 6 --steps 60", "pass --evaluate-every 18"),
        ("--checkpoint-every 0", "--checkpoint-every 0 is below 1"),
        ("--width 4", "--width 4 is below 8"),
        ("--workers -1", "--workers -1 is below 0"),
        ("--depth 34", "invalid choice: 34"),
    ],
)
def test_an_option_that_can_not_be_is_refused(capsys, command, told):
    assert told in refusal(capsys, command)


def test_the_rate_is_in_proportion_to_the_images_of_all_ranks_unless_it_is_given():
    assert options.parse(["--batch-size", "64"]).peak_rate(8) == pytest.approx(0.2)
    assert options.parse(["--rate", "0.3"]).peak_rate(8) == 0.3


# The loop.


class Alone:
    """A communicator as rank 0 sees it, whose other rank has asked to stop, or not."""

    rank, size = 0, 2

    def __init__(self, other_asks_at=()):
        self.asks = list(other_asks_at)

    def Barrier(self):
        pass

    def Allreduce(self, _, sums):
        if len(sums) == 5:  # what ranks have trained, and whether they are asked to stop
            self.periods = getattr(self, "periods", 0) + 1
            sums[-1] += self.periods in self.asks


class FakeJob:
    """A job whose averager performs given steps."""

    def __init__(self, steps, period=10):
        self._steps, self._period = iter(steps), period
        self.averager = SimpleNamespace(
            step=0,
            report=SimpleNamespace(outcome=None),
            statistics=SimpleNamespace(skipped=0, seconds_waited=0.0),
        )
        self.rates, self.evaluated = [], []

    def update(self, images, labels, rate):
        self.rates.append(rate)
        self.averager.step = next(self._steps)
        is_synchronised = self.averager.step % self._period == 0
        self.averager.report.outcome = Outcome.SYNCHRONIZED if is_synchronised else Outcome.FRESH
        return 1.0

    def evaluate(self, images, labels):
        self.evaluated.append(self.averager.step)
        return 3.0, 1


def looped(job, comm, stop=False, **more):
    """Run a loop; return whether it came to its end, the steps that were saved, and the records."""
    pytest.importorskip("tqdm")
    from tests.examples.resnet.loop import Loop

    given = {"steps": 40, "warmup": 5, "rate": 0.4, "evaluate-every": 20, "checkpoint-every": 30, **more}
    chosen = options.parse([text for name, value in given.items() for text in (f"--{name}", str(value))])
    saved, records = [], []
    writer = SimpleNamespace(write=lambda *record: records.append(record))
    validation = [(None, [0, 1, 2]), (None, [3])]
    loop = Loop(comm, chosen, job, validation, writer, saved.append, SimpleNamespace(requested=stop))
    is_done = loop.run((None, None) for _ in range(100))
    return is_done, saved, records


def test_the_rate_follows_the_steps_of_the_averager_where_a_rank_skips_some():
    steps = [1, 2, 10, 11, 20, 21, 30, 33, 40]  # as of a rank that is called three times
    job = FakeJob(steps)
    looped(job, Alone())
    assert job.rates == [schedule.rate(step, 40, 0.4, 5) for step in [0, *steps[:-1]]]


def test_evaluation_and_checkpoints_come_at_their_steps_and_at_the_end():
    job = FakeJob(range(1, 41))
    is_done, saved, records = looped(job, Alone())
    assert is_done
    assert job.evaluated == [20, 20, 40, 40]
    assert saved == [30, 40]
    assert [(step, kind) for step, kind, _ in records] == [
        (10, "training"),
        (20, "training"),
        (20, "validation"),
        (30, "training"),
        (40, "training"),
        (40, "validation"),
    ]
    assert records[2][2]["accuracy"] == 2 / 4
    assert records[2][2]["loss"] == 6 / 4


def test_one_rank_that_is_asked_to_stop_stops_this_one_at_the_next_synchronisation():
    job = FakeJob(range(1, 41))
    is_done, saved, _ = looped(job, Alone(other_asks_at=[2]))
    assert (is_done, saved, job.averager.step) == (False, [20], 20)
    job = FakeJob(range(1, 41))
    is_done, saved, _ = looped(job, Alone(), stop=True)
    assert (is_done, saved, job.averager.step) == (False, [10], 10)


def test_a_request_to_stop_at_the_last_step_is_the_end():
    is_done, saved, _ = looped(FakeJob(range(1, 41)), Alone(other_asks_at=[4]))
    assert (is_done, saved) == (True, [30, 40])


# Records.


def test_records_can_be_read_back_as_lines_and_by_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    with Records(tmp_path, 0) as records:
        records.write(10, "training", {"loss": 2.5, "rate": 0.1})
        records.write(20, "validation", {"accuracy": 0.75})
    lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 10, "kind": "training", "loss": 2.5, "rate": 0.1},
        {"step": 20, "kind": "validation", "accuracy": 0.75},
    ]
    assert events.scalars(tmp_path / "tensorboard") == [
        (10, "training/loss", 2.5),
        (10, "training/rate", pytest.approx(0.1)),
        (20, "validation/accuracy", 0.75),
    ]


def test_a_run_that_goes_on_drops_what_was_recorded_after_its_checkpoint(tmp_path):
    pytest.importorskip("tensorboardX")
    with Records(tmp_path, 0) as records:
        for step in (10, 20, 30):
            records.write(step, "training", {"loss": float(step)})
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"step": 40, "ki')  # a run that was killed
    with Records(tmp_path, 20) as records:
        records.write(30, "training", {"loss": 0.0})
    lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(10, 10.0), (20, 20.0), (30, 0.0)]


# Checkpoints.


def test_the_newest_complete_checkpoint_is_found_and_old_ones_are_deleted(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() is None
    for step in (90, 100, 110):
        checkpoints.save(step, {"depth": 18}, lambda folder: (folder / "state").write_text("x"), keep=2)
    assert [path.name for path in checkpoints.complete()] == ["step-100", "step-110"]

    def fail(folder):
        (folder / "state").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(120, {"depth": 18}, fail, keep=2)
    found = checkpoints.newest()
    assert (found.step, found.network) == (110, {"depth": 18})
    checkpoints.save(120, {"depth": 18}, lambda folder: (folder / "state").write_text("y"), keep=2)
    assert (checkpoints.newest().folder / "state").read_text() == "y"


@pytest.mark.parametrize(
    ("resume", "width", "told"),
    [
        ("never", 8, "has a checkpoint of step 10; pass --resume auto to go on from it, or another"),
        ("auto", 16, "is of the network {'width': 8}, and the options ask for {'width': 16}"),
    ],
)
def test_a_checkpoint_that_is_not_to_be_gone_on_from_is_refused(tmp_path, resume, width, told):
    pytest.importorskip("tqdm")
    from tests.examples.resnet.start import to_go_on_from

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, {"width": 8}, lambda folder: None, keep=1)
    chosen = options.parse(["--directory", str(tmp_path), "--resume", resume])
    with pytest.raises(ValueError) as error:
        to_go_on_from(checkpoints, chosen, {"width": width})
    assert told in str(error.value)


def test_a_job_begins_anew_or_goes_on_from_the_newest_checkpoint(tmp_path):
    pytest.importorskip("tqdm")
    from tests.examples.resnet.start import to_go_on_from

    checkpoints = Checkpoints(tmp_path)
    chosen = options.parse(["--directory", str(tmp_path), "--resume", "auto"])
    assert to_go_on_from(checkpoints, chosen, {"width": 8}) is None
    for step in (10, 20):
        checkpoints.save(step, {"width": 8}, lambda folder: None, keep=2)
    assert to_go_on_from(checkpoints, chosen, {"width": 8}).step == 20
