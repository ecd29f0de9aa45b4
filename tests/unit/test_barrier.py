"""Barriers of all ranks, one arrival after another: who is told what, and when."""

import numpy as np
import pytest

from tests.support.worlds import layout_of
from wagma_rma.protocol.barrier import Barrier
from wagma_rma.testing import ThreadMemory, ThreadWindow, Verbs

PERIOD = 10
TWO_HOSTS = [0, 0, 1, 1]


class World:
    """The barriers of some ranks, and their words."""

    def __init__(self, hosts, quorum=None):
        self.layout = layout_of([np.zeros(4, np.float32)])
        memory = ThreadMemory(len(hosts), self.layout.nbytes)
        windows = [ThreadWindow(memory, rank) for rank in range(len(hosts))]
        self.verbs = Verbs(windows[0])
        self.barriers = [Barrier(window, self.layout, hosts, quorum, PERIOD) for window in windows]

    def arrive(self, rank, step, joined=False, joining=0, calls=True):
        self.barriers[rank].arrive(step, not joined, joining=joining, calls=calls)

    def over(self):
        """Return which ranks find the barrier over, the hosts below told by their leaders at a first look."""
        for _ in range(2):
            found = [barrier.is_over() for barrier in self.barriers]
        return found

    def synchronize(self, step, joins):
        """Pass both barriers of a synchronisation at which one rank has joined after step 8."""
        for rank in range(len(self.barriers)):
            self.arrive(rank, 9 if rank == joins else step, rank == joins, int(rank == joins))
        assert all(self.over())
        for rank in range(len(self.barriers)):
            self.arrive(rank, step, calls=False)
        assert all(self.over())

    def called(self):
        """Return to which step the hosts are called."""
        [step] = {barrier.called() for barrier in self.barriers}
        return step

    def reached(self, leader):
        return self.verbs.load(leader, self.layout.reached)[0]


@pytest.mark.parametrize("joined", range(4))
@pytest.mark.parametrize("hosts", [[0] * 4, TWO_HOSTS], ids=str)
def test_a_rank_that_has_joined_and_completes_the_quorum_calls_to_the_step_of_the_others(hosts, joined):
    world = World(hosts, quorum=2)
    world.synchronize(10, joined)
    first, second, _ = (rank for rank in range(4) if rank != joined)
    world.arrive(first, 20)
    world.arrive(second, 20)
    # The joined rank, which counts among those that have joined, arrives after them.
    world.arrive(joined, 11, joined=True)
    assert world.called() == 20


def test_a_rank_that_has_joined_calls_nobody_to_a_step_that_average_does_not_synchronise():
    world = World([0] * 4, quorum=2)
    world.synchronize(10, 3)
    world.arrive(0, 13, calls=False)
    world.arrive(1, 13, calls=False)
    world.arrive(3, 11, joined=True)
    assert world.called() == 10


def test_without_a_quorum_the_last_arrival_of_a_host_alone_goes_to_another_host():
    world = World(TWO_HOSTS)
    world.arrive(2, 10)
    assert (world.reached(0), world.reached(2)) == (0, 1)
    world.arrive(3, 10)
    assert (world.reached(0), world.reached(2)) == (2, 2)
