"""The training jobs of tests/examples/resnet at two real ranks: they learn, record, stop and go on."""

import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.examples import events
from tests.examples.resnet import schedule
from tests.support import cache, guardian, launch

pytestmark = pytest.mark.slow

RANKS, LIMIT = 2, 180
FRAMEWORKS = ["flax", "torch"]
JOB = Path(__file__).parent / "resnet" / "job.slurm"
# Ranks share two cores, and frameworks would take a thread for each.
ENV = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
SMALL = ["--width", "8", "--rate", "0.1", "--warmup", "10", "--sync-period", "5"]
OFTEN = ["--evaluate-every", "10", "--checkpoint-every", "10"]
EACH = pytest.mark.parametrize("framework", FRAMEWORKS)


@pytest.fixture(autouse=True)
def packages(framework):
    """Skip where the extra `examples` is not installed."""
    for name in ("tensorboardX", "tqdm", *{"flax": ("flax", "orbax"), "torch": ("torch",)}[framework]):
        if not importlib.util.find_spec(name):
            pytest.skip(f"{name} is not installed")


def module(framework):
    return f"tests.examples.resnet.{framework}_train"


def start(framework, directory, *arguments, ranks=RANKS):
    """Start a small job."""
    command = [sys.executable, "-W", "error", "-m", module(framework), "--directory", str(directory)]
    return launch.Ranks(ranks, cache.using([*command, *SMALL, *arguments]), ENV)


def completed(framework, directory, *arguments, ranks=RANKS):
    """Run a small job to its end; return its output."""
    code, output = start(framework, directory, *arguments, ranks=ranks).wait(LIMIT)
    assert code == 0, output
    return output


def records(directory, kind=None):
    """Return the records of a run, or those of one kind."""
    path = directory / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record for record in found if kind in (None, record["kind"])]


def await_steps(job, directory, step):
    """Wait until a job has recorded a step."""
    deadline = time.monotonic() + LIMIT
    while not any(record["step"] >= step for record in records(directory)):
        if job.process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(job.end()[1])
        time.sleep(0.05)


def rank_pid(job, framework, rank):
    """Return the process id of a rank of a job."""
    for pid in guardian.marked(f"RANKS_DIRECTORY={job.directory}"):
        environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
        is_rank = {f"PMI_RANK={rank}", f"OMPI_COMM_WORLD_RANK={rank}"} & set(environment)
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if is_rank and module(framework) in command and "python" in command[0]:
            return pid
    raise AssertionError(f"rank {rank} has no process")


def steps_saved(directory):
    return sorted(int(path.name.removeprefix("step-")) for path in (directory / "checkpoints").iterdir())


@EACH
def test_a_job_learns_and_records_it(framework, tmp_path):
    output = completed(framework, tmp_path, "--steps", "120", "--evaluate-every", "40", "--workers", "1")
    assert "100%" in output  # the progress bar of rank 0
    training, validation = records(tmp_path, "training"), records(tmp_path, "validation")

    assert [record["step"] for record in training] == list(range(5, 121, 5))
    names = {"step", "kind", "loss", "rate", "images_per_second", "skipped", "waited"}
    assert all(record.keys() == names for record in training)
    assert np.mean([r["loss"] for r in training[-3:]]) < 0.6 * training[0]["loss"]
    assert training[-1]["rate"] < 0.001

    assert [record["step"] for record in validation] == [40, 80, 120]
    assert all(record.keys() == {"step", "kind", "loss", "accuracy", "seconds"} for record in validation)
    assert validation[-1]["accuracy"] > 0.7  # by chance 0.1
    assert steps_saved(tmp_path) == [100, 120]

    recorded = [
        (record["step"], f"{record['kind']}/{name}", pytest.approx(record[name]))
        for record in records(tmp_path)
        for name in record.keys() - {"step", "kind"}
    ]
    assert sorted(events.scalars(tmp_path / "tensorboard")) == sorted(recorded, key=lambda scalar: scalar[:2])


@EACH
def test_a_rank_that_is_asked_to_stop_stops_all_and_the_job_goes_on(framework, tmp_path):
    job = start(framework, tmp_path, "--steps", "10000", *OFTEN)
    await_steps(job, tmp_path, 80)
    os.kill(rank_pid(job, framework, 1), signal.SIGTERM)
    code, output = job.wait(LIMIT)
    assert code == 75, output
    before = records(tmp_path, "training")
    stopped = before[-1]["step"]
    assert steps_saved(tmp_path)[-1] == stopped
    assert f"stopped after step {stopped}" in output

    # By one rank more or less; few steps, so that it is good only if it goes on from what was saved.
    ranks, steps = (1, stopped + 20) if framework == "torch" else (RANKS, stopped + 20)
    steps += -steps % 10
    completed(framework, tmp_path, "--steps", str(steps), *OFTEN, "--resume", "auto", ranks=ranks)
    after = records(tmp_path, "training")
    assert after[: len(before)] == before
    assert [record["step"] for record in after[len(before) :]] == list(range(stopped + 5, steps + 1, 5))
    assert after[len(before)]["loss"] < 0.7 * before[0]["loss"]
    assert records(tmp_path, "validation")[-1]["accuracy"] > 0.6
    for record in after[len(before) :]:  # of the last update of a period
        rates = [schedule.rate(record["step"] - back, steps, 0.1, 10) for back in range(1, 6)]
        assert min(rates) <= record["rate"] <= max(rates)


@pytest.mark.parametrize("framework", ["torch"])
def test_a_job_of_slurm_requeues_itself_and_goes_on(framework, tmp_path):
    pytest.importorskip("torch")
    tools = tmp_path / "tools"
    tools.mkdir()
    requeued = tmp_path / "requeued"
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >>{requeued}\n')
    (tools / "scontrol").chmod(0o755)
    env = {
        "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "VENV": "",
        "SLURM_JOB_ID": "7",
        "SLURM_NTASKS": str(RANKS),
        "PROGRAM": module(framework),
        "DIRECTORY": str(tmp_path / "run"),
        "OMP_NUM_THREADS": "1",
    }

    def submit(*arguments):
        return launch.Ranks(RANKS, [str(JOB), *SMALL, *OFTEN, *arguments], env, launcher=["bash"])

    job = submit("--steps", "10000")
    await_steps(job, tmp_path / "run", 10)
    job.process.send_signal(signal.SIGUSR1)  # as SLURM does, to the script alone
    code, output = job.wait(LIMIT)
    assert code == 75, output
    assert requeued.read_text() == "requeue 7\n"
    stopped = records(tmp_path / "run", "training")[-1]["step"]

    steps = stopped + 10 + -stopped % 10
    code, output = submit("--steps", str(steps)).wait(LIMIT)
    assert code == 0, output
    assert requeued.read_text() == "requeue 7\n"
    of_training = [record["step"] for record in records(tmp_path / "run", "training")]
    assert of_training == list(range(5, steps + 1, 5))


@EACH
def test_statistics_and_momentum_are_averaged_with_the_parameters(framework):
    for found in launch.run(RANKS, "examples.resnet:synchronised", env=ENV, framework=framework):
        assert found["from the mean"] < 1e-5 < found["from own"]
        assert found["between ranks"] < 1e-5
        assert not found["unchanged"]


@EACH
def test_a_checkpoint_brings_back_the_model_and_the_momentum_at_every_rank(framework, tmp_path):
    program = "examples.resnet:restored"
    for found in launch.run(RANKS, program, env=ENV, framework=framework, directory=str(tmp_path)):
        assert found == {"step": 2, "differ": []}
