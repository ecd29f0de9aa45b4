"""With overlap an exchange goes on while the program computes; its average is added one group step later."""

import sys

import pytest

from tests.support import launch, pool

NAPS = 0.01


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"api": "in place", "quorum": 2},
        {"api": "buffers"},
        {"api": "buffers", "sync_quorum": 1},
        {"sync_quorum": 2, "patience": 0.0},
        {"group_period": 2},
        {"group_period": 3, "sync_quorum": 1, "api": "in place"},
        {"group_size": 4},
        {"group_size": 3, "ranks": 6, "patience": 0.0},
        {"group_size": 1},
    ],
    ids=str,
)
def test_each_model_gets_what_the_group_step_before_has_brought_to_the_bit(options):
    options = {"ranks": 4, "group_size": 2, **options}
    ran = pool.run(options.pop("ranks"), "ranks.overlap:steps", naps=NAPS, **options)
    assert ran[0][0] == []
    for _, (fresh, late, missed, local, synchronized, skipped) in ran:
        assert fresh + late + missed + local + synchronized + skipped == 28
        assert skipped == 0 or "sync_quorum" in options


def test_the_program_goes_on_at_once_and_reports_tell_of_the_step_before():
    first, second = pool.run(2, "ranks.overlap:apart")
    assert first["first"] == [1.0] * 3, "its own model"
    assert (first["step"], first["report"]) == (1, 0)
    # (1 + 2) / 2 - 1 is what the first step has brought.
    assert first["second"] == [10.5] * 3 and first["at once"]
    assert first["then"] == [2, 1, "FRESH", [0, 0]]
    # The second one brings (10.5 + 19.5) / 2 - 10.5 = 4.5, and -4.5 to the other.
    for rank in (first, second):
        assert rank["mean"] == [50.0] * 3
        assert rank["counts"] == [2, 3]


def test_steps_that_exchange_nothing_pass_while_an_exchange_goes_on_and_change_nothing_of_it():
    for rank, (told, counts) in enumerate(pool.run(2, "ranks.overlap:local")):
        own = [rank + number / 4 for number in (1, 2, 3)]
        before = [[1, 1, "LOCAL", own[0]], [2, 2, "LOCAL", own[1]], [3, 2, "LOCAL", own[2]]]
        between = [[4, 4, "LOCAL", 10.0], [5, 5, "LOCAL", 20.0]]
        # Step 3 has brought the mean of 0.75 and 1.75, less this rank's own.
        after = [[3, "FRESH", [0, 0]], [6, 3, "FRESH", 30.0 + 1.25 - own[2]]]
        if rank == 1:  # whose exchange is over at once: it may have been counted before step 4
            after[0] = told[5]
            after[1][1:3] = told[6][1:3]
        assert told == before + between + after
        assert counts == [5, 4, 1]


def test_a_timeout_counts_while_a_call_waits_and_the_step_before_is_missed():
    first, second = pool.run(2, "ranks.overlap:timed_out")
    kinds, text = first["said"]
    assert "SynchronizationTimeout" in kinds
    assert text.startswith("average: rank 0 at step 1: waited 0.5 s for rank 1 (at step 0;")
    assert 0.4 < first["waited"] < 5
    assert first["report"] == [1, 1, "MISSED"]
    assert first["second"] == [10.0] * 3, "a missed step brings nothing"
    assert first["mean"] == second["mean"]


@pytest.mark.parametrize("waits", ["average", "synchronize", "complete", "buffers", "close"])
def test_control_c_ends_the_wait_for_a_step_that_needs_others(waits):
    first, second = pool.run(2, "ranks.overlap:pressed", waits=waits)
    assert first["pressed"] == [1, "MISSED"]
    assert first["mean"] == second["mean"]


@pytest.mark.parametrize("how", ["before its step", "in the middle"])
def test_a_rank_that_leaves_is_named_by_the_call_that_waits(how):
    first, _ = pool.run(2, "ranks.overlap:leaves", how=how, limit=60)
    kinds, text = first["said"]
    assert "RankLeft" in kinds and "no data" in text, text
    assert first["closed"] == [[], ""]


@pytest.mark.parametrize("how", ["close", "synchronize", "drop"])
def test_a_run_may_end_right_after_a_step(how):
    told = pool.run(2, "ranks.overlap:dropped", how=how, limit=60)
    assert all("closed" in text for text in told) or how != "close"


def test_a_model_can_be_completed_between_two_steps():
    first, second = pool.run(2, "ranks.overlap:completed")
    for rank, value in ((first, 1.0), (second, 2.0)):
        assert rank["apart"] == [1.5] * 3
        assert rank["again"] == [value] * 3, "nothing is pending any more"
        # 10 and 20 have brought 5 and -5.
        assert rank["in place"] == [value + (15.0 - 10 * value)] * 3
        assert rank["state"] == {"step": 2}
        assert rank["mean"] == [1.5] * 3
        assert rank["after"] == rank["in place"], "what a synchronisation gives is complete"
        assert rank["wrong"].startswith("complete: ")


def test_a_worker_that_waits_or_has_nothing_to_do_uses_next_to_no_cpu():
    seconds, least = 2.0, {}
    for _ in range(3):  # what else runs on this machine can only add to it
        for rank, used in enumerate(pool.run(2, "ranks.overlap:idle", seconds=seconds)):
            for what, cpu in used.items():
                least[what, rank] = min(cpu, least.get((what, rank), cpu))
        if max(least.values()) < 0.05 * seconds:
            return
    raise AssertionError(f"seconds of CPU in {seconds} s: {least}")


def test_several_averagers_have_a_worker_each_and_some_leaves_wait_for_synchronisations():
    told = pool.run(2, "ranks.overlap:several")
    for rank, steps in enumerate(told):
        mean = 0.5 - rank  # of the pair, less this rank's own
        for number, (w, moments, other) in enumerate(steps, start=1):
            value = 10 * number + rank
            synchronizes = number % 4 == 0
            assert moments == (10 * number + 0.5 if synchronizes else value)
            # What the first step of a period brings makes ranks equal, so the second brings nothing.
            expected = 10 * number + 0.5 if synchronizes else value + (mean if number % 4 == 2 else 0)
            assert (w, other) == (expected, -expected), (number, rank)


def test_a_fork_of_a_rank_has_no_part_in_its_step():
    for told in pool.run(2, "ranks.overlap:forked"):
        assert "is a fork of it" in told[0]


def test_a_second_thread_is_refused_while_the_first_waits_for_a_step():
    first, _ = pool.run(2, "ranks.overlap:second_thread")
    assert "two threads at once" in first[0]


@pytest.mark.skipif(bool(launch.TEST_HOSTS), reason="across hosts close() comes before MPI.Finalize()")
def test_mpi_may_be_finalised_in_the_middle_of_a_step():
    program = "from tests.ranks.programs import overlap; overlap.finalized()"
    job = launch.Ranks(2, [sys.executable, "-W", "error", "-c", program])
    assert job.wait(90) == (0, "")
