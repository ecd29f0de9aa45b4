"""The table of all ranks: verdicts, the order of its lines, and what it says of ranks that are gone."""

import os
import subprocess

import numpy as np
import pytest

from wagma_rma.seeing.ranks import RankStatus, RankTable, Seen, table
from wagma_rma.seeing.rows import Row
from wagma_rma.waiting.processes import own_process


def row(times, activity="computing", began=90.0, ended=95.0, process=None, **others):
    told = {"step": 12, "synchronized_step": 10, "synchronized": 50.0, "compute": 0.1, "call": 0.02,
            "waited": 0.01, "late": 0.25, "host": "a"} | others  # fmt: skip
    times = np.asarray(times, np.float32)
    process = own_process() if process is None else process
    return Row(activity=activity, began=began, ended=ended, times=times, process=process, **told)


def of(*rows):
    return table([Seen(rank, one, 100.0) for rank, one in enumerate(rows)])


USUAL = [0.1] * 100


@pytest.mark.parametrize(
    ("times", "verdict", "why"),
    [
        ([0.101] * 100, "fine", "fine"),
        ([0.12] * 100, "fine", "fine"),
        ([0.2] * 100, "chronic", "chronic: 2.0x"),
        ([0.126] * 100, "chronic", "chronic: 1.3x"),
        ([0.1] * 69 + [0.4] * 31, "now and then", "now and then: 31 of 100"),
        ([0.1] * 96 + [0.4] * 4, "fine", "fine"),
        ([0.1] * 95 + [0.4] * 5, "now and then", "now and then: 5 of 100"),
        ([0.1] * 9 + [9.0], "fine", "fine"),  # one step is an accident
        ([0.4] * 4, "", ""),
        ([0.05] * 100, "fine", "fine"),
        ([], "", ""),
    ],
)
def test_a_rank_is_judged_beside_the_median_rank(times, verdict, why):
    judged = of(row(USUAL), row(times), row(USUAL), row(USUAL))[1]
    assert (judged.verdict, judged.why) == (verdict, why)


def test_of_two_ranks_the_slower_one_is_slow():
    fast, slow = of(row(USUAL), row([0.2] * 50))
    assert (fast.verdict, slow.verdict) == ("fine", "chronic")
    assert (slow.ratio, slow.slow, slow.times) == (pytest.approx(2.0, rel=1e-6), 50, 50)


def test_where_all_are_slow_nobody_is():
    assert {rank.verdict for rank in of(*[row([3.0] * 20)] * 5)} == {"fine"}


@pytest.mark.parametrize(
    ("activity", "seconds"), [("computing", 5.0), ("averaging", 10.0), ("synchronizing", 10.0), ("left", 5.0)]
)
def test_the_seconds_count_from_what_a_rank_does_now(activity, seconds):
    assert of(row(USUAL, activity))[0].seconds == seconds


def test_a_rank_whose_process_has_ended_is_dead_unless_it_has_left_before():
    with subprocess.Popen(["true"]) as process:
        process.wait()
    ended = (process.pid << 41) | own_process() % (1 << 41)
    assert [rank.state for rank in of(row([], process=ended), row([], "left", process=ended))] == [
        "dead",
        "left",
    ]
    # A process id of another host says nothing here.
    assert table([Seen(0, row([], process=ended), 100.0, is_near=False)])[0].state == "computing"


def test_ranks_that_do_not_answer_keep_what_was_seen_before():
    known, unknown = table([Seen(0, row(USUAL), 100.0, answers=False, is_near=False), Seen(1, None, None)])
    assert (known.state, known.step, known.seconds, known.host) == ("no answer", 12, None, "a")
    assert (unknown.state, unknown.host, unknown.verdict) == ("no answer", "", "")
    assert str(known).startswith(f"host a, pid {os.getpid()}; does not answer; its steps usually take 100 ms")
    assert str(unknown) == "does not answer"


def test_a_rank_is_described_for_those_who_wait_for_it():
    described = str(of(row([0.11] * 69 + [0.5] * 31, ended=95.8, host="b"), row([0.11] * 100))[0])
    assert described == (
        f"host b, pid {os.getpid()}; has computed for 4.20 s; its steps usually take 110 ms; "
        "slow in 31 of the last 100"
    )
    assert "has been synchronizing for 10.0 s" in str(of(row([], "synchronizing"))[0])


def test_the_slowest_come_first():
    seen = table(
        [
            Seen(0, row(USUAL), 100.0),
            Seen(1, row([0.3] * 10), 100.0),
            Seen(2, row(USUAL, ended=10.0), 100.0),  # for 90 s
            Seen(3, None, None),
            Seen(4, row(USUAL, "averaging", began=1.0), 100.0),
        ]
    )
    # Rank 2 computes for 90 s now, the others for 5; rank 4 has been in its call for long.
    assert [rank.rank for rank in seen.slowest(5)] == [3, 2, 1, 0, 4]
    assert len(seen.slowest()) == 1
    # Where all do something else, a rank's usual time counts.
    times = [[0.1] * 9, [0.2] * 9, [0.1] * 9]
    seen = table([Seen(rank, row(one, ended=10.0 + rank), 100.0) for rank, one in enumerate(times)])
    assert [rank.rank for rank in seen.slowest(3)] == [1, 0, 2]


def test_a_table_is_a_sequence_in_the_order_of_ranks_and_a_text():
    seen = of(row(USUAL), row([0.2] * 30, host="another", late=1.0), row(USUAL))
    assert isinstance(seen, RankTable) and len(seen) == 3 and [rank.rank for rank in seen] == [0, 1, 2]
    assert seen[1].host == "another" and isinstance(seen[0], RankStatus)
    assert [rank.rank for rank in seen[1:]] == [1, 2]
    heading, *lines = str(seen).splitlines()
    assert heading.split() == [
        "rank", "host", "pid", "state", "for", "step", "computes", "90", "%", "waited", "LATE", "verdict",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines] == ["1", "0", "2"]
    assert lines[0].endswith("100%  chronic: 2.0x")
    # Numbers stand below each other.
    assert len({line.index("computing") for line in lines}) == 1
    assert repr(seen) == "<RankTable of 3 ranks>"


@pytest.mark.parametrize(("most", "shown"), [(11, 10), (5, 3), (2, 0), (None, 10)])
def test_a_table_that_is_taller_than_the_terminal_says_what_it_leaves_out(most, shown):
    lines = of(*[row([0.1 + 0.01 * rank] * 9) for rank in range(10)]).lines(most)
    ranks = [int(line.split()[0]) for line in lines[1 : 1 + shown]]
    assert ranks == list(range(9, 9 - shown, -1))
    assert len(lines) == (11 if shown == 10 else most)
    if shown < 10:
        assert lines[-1] == f"and {10 - shown} more ranks, which are not slower"


def test_a_rank_as_a_dictionary_fits_json():
    import json

    told = json.loads(json.dumps(of(row(USUAL))[0].as_dict()))
    assert told["verdict"] == "fine" and told["compute_median"] == pytest.approx(0.1)
