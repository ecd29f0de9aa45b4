"""Hosts are numbered in the order of their lowest ranks."""

from functools import partial

import pytest

from tests.support.communicators import ThreadComm, communicators
from tests.support.worlds import together
from wagma_rma.mpi import hosts as mpi_hosts
from wagma_rma.mpi.hosts import host_numbers


class PlacedComm(ThreadComm):
    """A communicator whose ranks are on hosts that a test names."""

    def __init__(self, board, rank, size, hosts, boards):
        super().__init__(board, rank, size)
        self.hosts, self.boards = hosts, boards

    def Split_type(self, kind):
        host = self.hosts[self.rank]
        ranks = [rank for rank in range(self.size) if self.hosts[rank] == host]
        return ThreadComm(self.boards.setdefault(host, {}), ranks.index(self.rank), len(ranks))


@pytest.mark.parametrize(
    ("hosts", "numbers"),
    [
        ("aaaa", (0, 0, 0, 0)),
        ("aabb", (0, 0, 1, 1)),
        ("baba", (0, 1, 0, 1)),
        ("cabac", (0, 1, 2, 1, 0)),
        ("a", (0,)),
        ("aabbbbbbbc", (0, 0, 1, 1, 1, 1, 1, 1, 1, 2)),
    ],
)
def test_every_rank_knows_the_host_of_each(monkeypatch, hosts, numbers):
    monkeypatch.setattr(mpi_hosts, "_first_of_my_world", lambda host: 0)  # these ranks have no world of MPI's
    board, boards = {}, {}
    ends = [PlacedComm(board, rank, len(hosts), hosts, boards) for rank in range(len(hosts))]
    assert together([partial(host_numbers, comm) for comm in ends]) == [numbers] * len(hosts)


def test_a_rank_without_a_neighbour_is_a_host_by_itself():
    assert together([partial(host_numbers, comm) for comm in communicators(3)]) == [(0, 1, 2)] * 3
