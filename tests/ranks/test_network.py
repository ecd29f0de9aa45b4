"""Averagers on hosts of their own, whose network may be slow or down: nothing is lost, and they go on."""

import json
import os
import re
import signal
import time

import numpy as np
import pytest

from tests.ranks.test_seeing import off
from tests.ranks.test_stragglers import check, follow
from tests.support import launch
from tests.support.hosts import NETMODS, Hosts
from wagma_rma.seeing.trace import read_trace

pytestmark = [pytest.mark.usefixtures("possible"), pytest.mark.slow]


@pytest.fixture(scope="module")
def four(possible):
    with Hosts(4) as hosts:
        yield hosts


NETMOD = pytest.mark.parametrize("netmod", NETMODS.get(launch.mpi_name(), {}))


@NETMOD
def test_windows_across_hosts_keep_every_promise(two, four, netmod):
    for hosts, ranks in ((two, 1), (two, 2), (four, 1), (four, 2)):
        told = hosts.run(ranks, "ranks.windows:conformance", netmod=netmod, sleeps=False, window="remote")
        of_host = [host for host in range(hosts.count) for _ in range(ranks)]
        assert told == [[of_host, "thread"]] * len(of_host)


@NETMOD
def test_operations_of_all_hosts_on_one_word_are_all_made(two, four, netmod):
    """Open MPI's own additions are right, but its compare-and-swaps lose some without our info key."""
    for hosts, ranks in ((two, 2), (four, 1)):
        times = 200
        for held in hosts.run(ranks, "ranks.windows:counting", netmod=netmod, times=times):
            assert held == [4 * times, 4 * times, 4 * times - 1]


def test_every_group_gets_numpys_sum_to_the_bit_across_hosts(two, four):
    for hosts, ranks, by_node in ((two, 2, False), (two, 2, True), (four, 1, False), (two, [3, 1], False)):
        assert hosts.run(ranks, "ranks.averaging:exact", by_node=by_node) == [[], [], [], []]


def test_a_synchronisation_moves_what_a_hierarchical_allreduce_does(two, four):
    for hosts, ranks in ((two, 2), (four, 1), (four, 2), (two, [3, 1])):
        expected = 2 * (1 - 1 / hosts.count)
        for of_hosts, low, high in hosts.run(ranks, "ranks.network:synchronized", count=64_000):
            assert of_hosts == pytest.approx([expected] * hosts.count, rel=1e-2)
            assert low == high


def test_random_naps_never_tear_a_result_across_hosts(two, four):
    for hosts, ranks, world in (
        (two, 2, {"size": 100_000, "group_size": 2}),
        (four, 1, {"size": 30_000, "group_size": 4, "chunk_bytes": 1024}),
        (four, 2, {"size": 3, "group_size": 4}),
    ):
        counts = check(
            hosts.run(
                ranks, "ranks.stragglers:torture", steps=100, period=20, sleeps=0.005, patience=0, **world
            )
        )
        assert counts[:, 1].sum() > 0, "no rank was ever late: the test has not tried what it should"


@pytest.mark.parametrize("options", [{}, {"sync_quorum": 1}, {"group_period": 2}], ids=str)
def test_with_overlap_each_model_gets_what_the_group_step_before_has_brought(two, options):
    ran = two.run(2, "ranks.overlap:steps", naps=0.02, group_size=2, **options)
    assert ran[0][0] == []
    assert [sum(counts) for _, counts in ran] == [28] * 4


@pytest.mark.parametrize("group_size", [2, 4])
@pytest.mark.parametrize("sleepers", [[3], [2, 3]], ids=["a rank", "a host"])
def test_nobody_waits_for_a_rank_or_a_host_that_sleeps(two, group_size, sleepers):
    """Ranks that sleep call no MPI; their memory is read all the same."""
    naptime = 1.0
    results = two.run(2, "ranks.stragglers:asleep", group_size=group_size, naptime=naptime, sleepers=sleepers)
    for rank, result in enumerate(results):
        assert result["wrong"] == [], f"rank {rank}"
        if rank in sleepers:
            assert result["slept"] >= naptime
            assert result["others were through"] == [r for r in range(4) if r not in sleepers]
        else:
            assert result["through"] == 39
            assert result["typical"] < naptime / 8


def exact_steps(ranks):
    """Return the steps, by index, at which no chunk was summed again; check that no other bytes were read.

    A member that waits long sums a chunk again, which an owner without a core may cause: then it reads the
    models of one chunk more. It must not be so in every step.
    """
    excess = np.array([told["found"] for told in ranks]) - [told["expected"] for told in ranks]
    again = np.array([told["again"] for told in ranks])
    assert (excess >= 0).all() and (excess % np.maximum(again, 1) == 0).all(), excess
    assert not excess[again == 0].any(), excess
    exact = np.flatnonzero((excess == 0).all(axis=0) & again.any(axis=0))
    assert len(exact), excess
    return exact


@pytest.mark.parametrize("absent", [[], [3], [1, 3]], ids=["all there", "one late", "one late on each host"])
def test_no_byte_too_many_goes_over_the_network(two, absent):
    """N (S - 1) / k for what k present ranks share, and the collection, less what stays on the host."""
    ranks = two.run(2, "ranks.network:traffic", count=1 << 20, group_size=4, steps=6, absent=absent)
    exact = exact_steps(ranks)
    for rank, told in enumerate(ranks):
        kinds = {kind for kind, _ in told["kinds"]}
        assert kinds == {"LATE" if rank in absent else "FRESH"}, f"rank {rank}"
    if not absent:
        # The other host has two members: their models for what one sums, and the sums they make.
        assert sum(told["found"][exact[0]] for told in ranks) == ranks[0]["model"] * 2 * 2


@pytest.mark.parametrize("by_node", [False, True])
def test_groups_that_fit_a_host_send_nothing_over_the_network(two, by_node):
    """However ranks are placed, every other step of pairs stays on the hosts."""
    ranks = two.run(
        2, "ranks.network:traffic", by_node=by_node, count=1 << 16, group_size=2, steps=6, absent=[]
    )
    for told in ranks:
        assert [bool(nbytes) for nbytes in told["found"]] == [False, True] * 3
    exact_steps(ranks)


def train_through(hosts, fault, size=50_000, **options):
    """Train while `fault(job, done)` happens; return the warnings of each rank."""
    job = hosts.start(2, "ranks.network:training", size=size, period=20, group_size=4, **options)
    try:
        done = follow(job, 4)
        fault(job, done)
        before = [int(rank[0]) for rank in done]
        # Ranks are less than a period apart, so none has passed this step yet.
        last = (max(before) // 20 + 3) * 20
        (job.directory / "last.new").write_text(str(last))
        (job.directory / "last.new").rename(job.directory / "last")
        code, output = job.wait(90)
        assert code == 0, output
        results = job.results(4)
        assert [wrong for wrong, _ in results] == [[]] * 4
        assert [int(rank[0]) for rank in done] == [last] * 4
        return [warnings for _, warnings in results]
    finally:
        job.kill()


def test_a_host_whose_ranks_are_all_stopped_is_named_and_training_goes_on_after_it(two):
    def stop(job, done):
        pids = two.pids(1, job)
        assert sorted(pids) == [2, 3]
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        stopped = [int(rank[0]) for rank in done]
        for rank in (0, 1):
            until((job.directory / f"warned.{rank}").exists)
        # Nobody can read what a stopped process has, on a network like this one; all others wait.
        assert all(int(rank[0]) <= before + 20 for rank, before in zip(done, stopped, strict=True))
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)

    warnings = train_through(two, stop, warn_every=0.3)
    for rank in (0, 1):
        assert any("rank 2" in warning or "rank 3" in warning for warning in warnings[rank]), warnings


@pytest.mark.parametrize("batch", [False, True], ids=["after a read", "in one batch"])
def test_words_of_this_host_hide_no_wait_for_another(two, batch):
    heard, stopped = two.run(2, "ranks.windows:silent", limit=30, batch=batch)[0]
    assert set(heard) == {stopped}


def test_a_network_that_is_down_for_three_seconds_loses_nothing(two):
    def unplug(job, done):
        two.link_down(1)
        time.sleep(3)
        two.link_up(1)

    train_through(two, unplug)


def test_a_slow_network_is_slow_and_right(two):
    two.rate(1, 50e6)
    try:
        train_through(two, lambda job, done: time.sleep(2), size=20_000)
    finally:
        two.rate(1, None)


@pytest.mark.parametrize("ends", [False, True], ids=["comes back", "does not"])
def test_a_timeout_names_a_rank_that_does_not_answer_and_the_program_can_go_on_or_end(two, ends):
    job = two.start(1, "ranks.network:unanswered")
    try:
        if ends:
            (job.directory / "end").touch()
        until((job.directory / "stop").exists)
        pid = job.pids()[1]
        os.kill(pid, signal.SIGSTOP)
        (job.directory / "stopped").touch()
        if ends:
            code, output = job.wait(60)
            assert code != 0
            assert "the user's own" in output
            return
        until((job.directory / "continue").exists)
        os.kill(pid, signal.SIGCONT)
        code, output = job.wait(60)
        assert code == 0, output
        (told, *_), (nothing, *_) = results = job.results(2)
        assert len(told) == 1 and "rank 1" in told[0] and "timeout is 1" in told[0]
        assert nothing == []
        assert [mean for _, mean in results] == [[0.5, 0.5]] * 2
    finally:
        job.kill()


def test_a_rank_that_does_not_answer_is_seen_so_within_a_bounded_time(two):
    job = two.start(1, "ranks.seeing:look_at_a_stopped_rank")
    try:
        until((job.directory / "stop").exists)
        pid = job.pids()[1]
        os.kill(pid, signal.SIGSTOP)
        (job.directory / "stopped").touch()
        until((job.directory / "continue").exists)
        os.kill(pid, signal.SIGCONT)
        code, output = job.wait(60)
        assert code == 0, output
        [before, meanwhile, again, after], nothing = job.results(2)
        assert nothing == []
        # What was known of it stays.
        assert [each[1:4] for each in (meanwhile, again, after)] == [before[1:4]] * 3
        assert before[1] == 12 and before[3] == pid
        states = [each[0] for each in (before, meanwhile, again, after)]
        assert states == ["computing", "no answer", "no answer", "computing"]
        assert max(each[4] for each in (before, meanwhile, again, after)) < 2
    finally:
        job.kill()


def test_warnings_programs_of_a_host_and_metrics_tell_of_ranks_of_several_hosts(two, tmp_path):
    warnings, error, pids = two.run(2, "ranks.seeing:warned")[0]
    about_it = rf"for rank 1 \(at step 20; host \S+, pid {pids[1]}; has computed for .*; slow in \d+ of the"
    # A busy machine may have given reason for others before.
    assert any(re.search(about_it, warning) for warning in warnings) and re.search(about_it, error)
    # Process ids and their files are those of one machine here, so the ranks of both hosts are found.
    (code, text, _), (_, as_json, _), _ = two.run(2, "ranks.seeing:watched")[0]
    assert code == 0 and "4 of 4 ranks, host 0 of 2" in text and len(text.splitlines()) == 6
    assert [rank["step"] for rank in json.loads(as_json)["ranks"]] == [30] * 4
    for rank, told in enumerate(two.run(2, "ranks.seeing:measured", folder=str(tmp_path))):
        assert f'wagma_rma_step{{rank="{rank}"}} 25' in told["text"].splitlines()
        [over_network] = re.findall(r"^wagma_rma_network_bytes_total.* (\d+)$", told["text"], re.MULTILINE)
        assert int(over_network) == told["statistics"]["bytes_over_network"] > 0


@pytest.mark.skipif(
    launch.mpi_name() == "openmpi", reason="over TCP exchanges take from 0.1 to 10 ms: rates are 14 % lower"
)
def test_a_plan_predicts_the_step_rate_of_ranks_on_several_hosts(two, tmp_path):
    options = {"steps": 60, "usual": 0.04}
    recorded = {"group_size": 2, "sync_period": 10}
    planned = {
        "recorded": recorded,
        "other": {**recorded, "sync_period": 20, "sync_quorum": 1, "overlap": True},
    }

    def run(**how):
        return two.run(2, "ranks.seeing:rate", **options, **how)[0]

    arguments = tmp_path, run, recorded, planned, options["steps"]
    # What else the machine has to do may slow down one run and not the others: then all is done again.
    assert not off(*arguments) or not off(*arguments) or off(*arguments) == {}


def test_ranks_of_several_hosts_are_seen_and_traced_on_one_clock(two, tmp_path):
    ran = two.run(2, "ranks.seeing:hosts_apart", folder=str(tmp_path), steps=40)
    names = [two.namespace(host) for host in (0, 0, 1, 1)]
    for seen, _ in ran:
        assert [rank["host"] for rank in seen] == [ran[0][0][rank]["host"] for rank in range(4)]
        assert len({rank["host"] for rank in seen}) == len(set(names))
        assert [rank["step"] for rank in seen] == [40] * 4
        assert seen[1]["verdict"] == "chronic" and seen[2]["verdict"] == "now and then"
        assert all(0 <= rank["seconds"] < 10 for rank in seen)
    trace = read_trace(tmp_path / "run.json")
    error = trace.about["clock_error_us"] / 1e6
    assert 0 < error < 0.05
    assert len(trace.about["names"]) == 2
    for rank, (_, began) in enumerate(ran):
        later = [call.began - expected for call, expected in zip(trace.calls[rank], began, strict=True)]
        # A call takes a moment to begin, and longer where another rank gets the core.
        assert min(later) > -error - 1e-3
        assert sorted(later)[len(later) // 2] < error + 2e-3


def until(condition):
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "nothing has come in 60 s"
        time.sleep(0.01)


def test_a_timeout_on_a_slow_network_is_a_missed_step_and_no_more(two):
    """What is left of the step takes far longer than the grace for ranks that do not answer."""
    two.rate(1, 40e6)
    try:
        first, second = two.run(1, "ranks.network:quorum_timeout", count=2_000_000)
    finally:
        two.rate(1, None)
    assert first[0][:4] == [1, "MISSED", 0, 0]
    assert "rank 1" in first[0][4]
    assert second[0][:2] == [1, "LATE"]
    assert [step[1] for step in (first[1], second[1])] == ["FRESH", "FRESH"]
    assert first[1][2:4] == second[1][2:4]
