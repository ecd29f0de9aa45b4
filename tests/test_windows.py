"""Every window keeps the promises that the protocol relies on."""

import threading
from concurrent.futures import ThreadPoolExecutor

import launch
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
def test_the_shared_window_conforms(ranks):
    told = launch.run(ranks, "windows:conformance", naps=ranks == 4, window="shared")
    assert told == [None] * ranks


@pytest.mark.parametrize(
    ("ranks", "hosts", "progress"),
    [(1, "", "none"), (4, "", "none"), (2, "2", "thread"), (4, "2", "thread"), (4, "each", "thread")],
)
def test_the_remote_window_conforms(ranks, hosts, progress):
    told = launch.run(ranks, "windows:conformance", naps=ranks == 4, window="remote", env=launch.apart(hosts))
    count = {"": 1, "2": 2, "each": ranks}[hosts]
    assert [len(set(where)) for where, _ in told] == [count] * ranks
    assert [how for _, how in told] == [progress] * ranks


@pytest.mark.parametrize("hosts", ["", "2"], ids=["one host", "two hosts"])
def test_an_error_of_mpi_is_its_exception_and_names_the_operation(hosts):
    for rank, (told, held) in enumerate(launch.run(2, "windows:mpi_errors", env=launch.apart(hosts))):
        on = f"by rank {rank} on the memory of rank {1 - rank}"
        word = [True, f"RemoteWindow: an operation on a word {on}"]
        assert told[:3] == [word] * 3, f"RemoteWindow.check: {told}"
        assert told[3] == ([True, f"RemoteWindow: MPI_Rget {on}"] if hosts else "nothing"), (
            f"RemoteWindow.check: {told}"
        )
        assert held == 5


def test_a_stopped_rank_of_another_host_is_named_whatever_is_done_meanwhile():
    heard, stopped = launch.run(4, "windows:silent", env=launch.apart("2"), limit=30, batch=False)[0]
    assert set(heard) == {stopped}, f"RemoteWindow.awaited: {heard}, but rank {stopped} was stopped"


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
