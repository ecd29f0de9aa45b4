"""Windows of real ranks keep the promises that the protocol relies on."""

import pytest

from tests.support import launch, pool


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_shared_window_conforms(ranks):
    told = pool.run(ranks, "ranks.windows:conformance", sleeps=ranks == 4, window="shared")
    assert told == [None] * ranks


@pytest.mark.parametrize(
    ("ranks", "hosts", "progress"),
    [(1, "", "none"), (4, "", "none"), (2, "2", "thread"), (4, "2", "thread"), (4, "each", "thread")],
)
def test_the_remote_window_conforms(ranks, hosts, progress):
    told = pool.run(
        ranks, "ranks.windows:conformance", sleeps=ranks == 4, window="remote", env=launch.apart(hosts)
    )
    count = {"": 1, "2": 2, "each": ranks}[hosts]
    assert [len(set(where)) for where, _ in told] == [count] * ranks
    assert [how for _, how in told] == [progress] * ranks


@pytest.mark.parametrize("hosts", ["", "2"], ids=["one host", "two hosts"])
def test_an_error_of_mpi_is_its_exception_and_names_the_operation(hosts):
    for rank, (told, held) in enumerate(pool.run(2, "ranks.windows:mpi_errors", env=launch.apart(hosts))):
        on = f"by rank {rank} on the memory of rank {1 - rank}"
        word = [True, f"RemoteWindow: an operation on a word {on}"]
        assert told[:3] == [word] * 3, f"RemoteWindow.check: {told}"
        assert told[3] == ([True, f"RemoteWindow: MPI_Rget {on}"] if hosts else "nothing"), (
            f"RemoteWindow.check: {told}"
        )
        assert held == [0, 5], f"RemoteWindow.check: {held}, though the first word's addition failed"


def test_an_operation_rings_the_bell_of_a_rank_of_another_host():
    told = pool.run(4, "ranks.windows:bells", env=launch.apart("2"))
    rung = [(host, bell > 0) for host, bell in told]
    assert sorted(rung) == [(0, False), (0, False), (1, True), (1, True)], f"RemoteWindow.ring: {rung}"


def test_a_stopped_rank_of_another_host_is_named_whatever_is_done_meanwhile():
    heard, stopped = launch.run(4, "ranks.windows:silent", env=launch.apart("2"), limit=30, batch=False)[0]
    assert set(heard) == {stopped}, f"RemoteWindow.awaited: {heard}, but rank {stopped} was stopped"
