"""Traces: what is kept, what a file holds, and pictures of it."""

import argparse
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tests.support.worlds import make_ranks
from wagma_rma.protocol.events import Events
from wagma_rma.report import Outcome
from wagma_rma.seeing import timeline
from wagma_rma.seeing.clocks import Alignment
from wagma_rma.seeing.trace import (
    OUTCOMES,
    About,
    Writer,
    heads,
    lines,
    path_of_rank,
    read_trace,
    recorded,
    spans,
)
from wagma_rma.tracing import chosen_path, steps_kept

ABOUT = About(2, (0, 0), ("a",), {"group_size": 2, "overlap": False})
SYNCHRONIZED = 3


def synchronization(events, step, began=None):
    began = float(step) if began is None else began
    events.add_synchronization(step, began, began + 0.5, 0.25, 2, 100, 10, SYNCHRONIZED)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 30])
def test_the_newest_steps_are_kept_in_their_order(count):
    events = Events(2, 8)
    for step in range(1, count + 1):
        synchronization(events, step)
    found = recorded(events, 2)
    first = max(0, count - 8)
    assert found.events["step"].tolist() == list(range(first + 1, count + 1))
    assert found.left_out == first
    assert found.ages.shape == (count - first, 2)


def test_steps_of_a_protocol_are_recorded_with_their_moments_in_order():
    start = [np.zeros(3, np.float32)]
    first, second = make_ranks(start)
    for rank in (first, second):
        rank.protocol.events = Events(2, 100)
    for step in (1, 2, 3):
        first.average(step, [np.full(3, 1.0, np.float32)])
        if step > 1:
            second.average(step, [np.full(3, 2.0, np.float32)])
    for rank, steps, ages in ((first, [1, 2, 3], [[0, 1], [0, 2], [0, 1]]), (second, [2, 3], None)):
        found = recorded(rank.protocol.events, 2)
        assert found.events["step"].tolist() == steps
        assert ages is None or found.ages.tolist() == ages
        for event in found.events:
            moments = [event[name] for name in ("began", "published", "opened", "exchanged", "ended")]
            assert moments == sorted(moments) and moments[0] > 0
            assert event["waited"] <= event["ended"] - event["began"]
    assert recorded(second.protocol.events, 2).events["outcome"].tolist() == [1, 1]


def test_outcomes_have_the_names_of_reports():
    assert [outcome.name for outcome in sorted(Outcome, key=lambda outcome: outcome.value)] == list(OUTCOMES)


def test_without_a_trace_nothing_is_recorded():
    rank, _ = make_ranks([np.zeros(3, np.float32)])
    rank.average(1, [np.zeros(3, np.float32)])
    assert rank.protocol.events is None


def written(path, ranks=2, aligned=None):
    """Write a trace of synchronisations, 0.5 s each second, of ranks whose clocks agree."""
    with Writer(path) as writer:
        writer.write(lines(heads(ABOUT, range(ranks))))
        for rank in range(ranks):
            events = Events(2, 100)
            for step in range(1, 31):
                synchronization(events, step)
            options = {} if aligned is None else {"alignment": aligned}
            writer.write(lines(spans(recorded(events, 2), rank, 0, lambda step: (0, 1), **options)))
        writer.end({"wagma_rma": ABOUT._asdict() | {"left_out": 0, "clock_error_us": 0.0}})
    return path


def test_what_does_not_come_to_its_end_leaves_no_file(tmp_path):
    with pytest.raises(OSError, match="full"), Writer(tmp_path / "run.json") as writer:
        writer.write(b"{},")
        raise OSError("full")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_stays_full_hides_no_error(tmp_path):
    with pytest.raises(OSError, match="at once"), Writer(tmp_path / "run.json") as writer:
        writer._file.close()
        writer._file = open("/dev/full", "wb", buffering=1 << 20)  # noqa: SIM115
        writer.write(b"{},")  # which is refused when the file is closed
        raise OSError("at once")
    assert list(tmp_path.iterdir()) == []


def test_steps_are_written_in_the_order_in_which_they_began():
    events = Events(1, 10)
    for step, began in ((4, 3.0), (3, 1.0), (5, 5.0)):
        synchronization(events, step, began)
    found = list(spans(recorded(events, 1), 0, 0, lambda step: (0,)))
    assert [event["args"]["step"] for event in found if event["name"] == "synchronize"] == [3, 4, 5]
    assert [event["dur"] for event in found if event["name"] == "compute"] == [1.5e6, 1.5e6]


@pytest.mark.parametrize("name", ["run.json", "run.json.gz"])
def test_what_was_written_is_read(tmp_path, name):
    read = read_trace(written(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert read.ranks == 2 and read.about["options"]["group_size"] == 2
    for rank in range(2):
        assert [call.step for call in read.calls[rank]] == list(range(1, 31))
        assert read.computed[rank] == [0.5] * 29
        call = read.calls[rank][0]
        assert (call.outcome, call.began, call.ended, call.waited) == ("SYNCHRONIZED", 1.0, 1.5, 0.25)
        assert call.arguments["skipped"] == 2


def test_times_are_those_of_the_first_host(tmp_path):
    ahead = Alignment(np.array([0.0, 100.0]), np.array([5.0, 5.0]), 0.0)
    assert read_trace(written(tmp_path / "run.json", aligned=ahead)).calls[0][0].began == 6.0


def test_the_file_is_what_viewers_of_trace_events_take(tmp_path):
    read = json.loads(written(tmp_path / "run.json").read_text())
    assert {event["ph"] for event in read["traceEvents"]} == {"M", "X"}
    for event in read["traceEvents"]:
        if event["ph"] == "X":
            assert event["dur"] >= 0 and isinstance(event["pid"], int) and isinstance(event["tid"], int)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"traceEvents": []}'])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "other.json").write_bytes(content)
    with pytest.raises(ValueError, match="is no trace of wagma_rma"):
        read_trace(tmp_path / "other.json")


def test_each_rank_has_a_file_of_its_own_beside_the_run(tmp_path):
    assert path_of_rank(tmp_path / "run.json", 3) == tmp_path / "run.rank3.json"
    assert path_of_rank(tmp_path / "run.json.gz", 3) == tmp_path / "run.rank3.json.gz"


def test_the_option_comes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("WAGMA_RMA_TRACE", raising=False)
    assert chosen_path("test", None) is None
    monkeypatch.setenv("WAGMA_RMA_TRACE", str(tmp_path / "named.json"))
    assert chosen_path("test", "run.json") == Path("run.json").absolute()
    assert chosen_path("test", None).name.startswith("named")
    monkeypatch.setenv("WAGMA_RMA_TRACE", "")
    assert chosen_path("test", None) is None


@pytest.mark.parametrize("name", ["", ".", "no/run.json"])
def test_what_can_be_no_file_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match="rank 0 can't write such a file; pass a name in a folder that is there"
    ):
        chosen_path("test", name)


def test_many_ranks_keep_fewer_steps_each():
    assert [steps_kept(ranks) for ranks in (1, 25, 100, 4096)] == [20_000, 20_000, 5_000, 500]


# Pictures.


def draw(trace, *words):
    parser = argparse.ArgumentParser()
    timeline.add_arguments(parser)
    return timeline.run(parser.parse_args([str(trace), *map(str, words)]))


def test_a_trace_is_drawn(tmp_path, capsys):
    trace = written(tmp_path / "run.json")
    assert draw(trace, "-o", tmp_path / "one.png") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'one.png'}\n"
    picture = (matplotlib.image.imread(tmp_path / "one.png")[:, :, :3] * 255).round().astype(np.uint8)
    for kind in ("wait", "synchronize", "compute"):
        color = np.frombuffer(bytes.fromhex(timeline.COLORS[kind][1:]), np.uint8)
        assert (picture == color).all(axis=2).mean() > 0.01, kind
    assert draw(trace, "--ranks", 1) == 0
    assert (tmp_path / "run.png").exists()


def test_what_can_not_be_drawn_is_said(tmp_path, capsys):
    assert draw(tmp_path / "no.json") == 2
    assert "timeline: " in capsys.readouterr().err
    assert draw(written(tmp_path / "run.json"), "--ranks", 7) == 2
    assert "has no steps of rank 7" in capsys.readouterr().err


def test_the_steps_of_a_picture_are_those_of_the_trace(tmp_path):
    steps = timeline.steps_of(written(tmp_path / "run.json"))
    assert len(steps) == 2 and len(steps[1]) == 30
    first, second = steps[0][:2]
    assert (first.begin, first.end) == (1.0, 1.5)
    assert (second.begin, second.averaging, second.waited, second.end) == (1.5, 0.5, 0.25, 2.5)
    assert (second.outcome, second.skipped) == ("SYNCHRONIZED", 2)
