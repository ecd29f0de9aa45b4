"""Windows of ranks that are threads, or simulated, keep the promises that the protocol relies on."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wagma_rma.testing import (
    Schedule,
    Scheduler,
    SimulatedMemory,
    SimulatedWindow,
    ThreadMemory,
    ThreadWindow,
    Verbs,
    check_window,
)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_thread_window_conforms(ranks):
    barrier = threading.Barrier(ranks)
    memories, made = [], threading.Lock()

    def check(rank):
        def make_window(nbytes, words):
            with made:
                if not memories:
                    memories.append(ThreadMemory(ranks, nbytes))
            return ThreadWindow(memories[0], rank)

        try:
            check_window(make_window, barrier.wait)
        except BaseException:
            barrier.abort()
            raise
        return True

    with ThreadPoolExecutor(ranks) as pool:
        assert list(pool.map(check, range(ranks))) == [True] * ranks


def check_simulated(ranks, lanes, schedule):
    """Run the conformance suite on simulated windows; the barrier is a word of a memory of its own."""
    scheduler = Scheduler(ranks, schedule, most_turns=5_000_000)
    board = SimulatedMemory(scheduler, 64, 64)
    memories = []

    def check(rank):
        meetings = SimulatedWindow(board, rank)
        verbs = Verbs(meetings)
        came, fences = 0, []

        def barrier():
            nonlocal came
            came += 1
            fences[0].write_fence()
            verbs.fetch_add(0, 0, 1)
            meetings.waiter.wait_for(lambda: verbs.load(0, 0)[0] >= came * ranks)

        def make_window(nbytes, words):
            if not memories:
                memories.append(SimulatedMemory(scheduler, nbytes, words))
            window = SimulatedWindow(memories[0], rank, lanes)
            fences.append(Verbs(window))
            return window

        def nap(seconds):
            Verbs(meetings).pause(times=int(1000 * seconds))  # the others go on

        check_window(make_window, barrier, nap)
        return True

    assert scheduler.run(check) == [True] * ranks


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    ranks=st.integers(1, 4),
    lanes=st.integers(1, 3),
    policy=st.sampled_from(["random", "round-robin", "priorities"]),
    seed=st.integers(0, 1 << 32),
    span=st.integers(1, 5000),
)
def test_the_simulated_window_conforms_under_any_schedule(ranks, lanes, policy, seed, span):
    check_simulated(ranks, lanes, Schedule(policy=policy, seed=seed, span=span))
