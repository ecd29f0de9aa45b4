"""Barriers of all ranks, one arrival after another: who is told what, and when."""

import numpy as np
import pytest

from tests.support.worlds import layout_of
from wagma_rma.protocol.barrier import MISMATCH, Barrier
from wagma_rma.testing import ThreadMemory, ThreadWindow, Verbs

PERIOD = 10
TWO_HOSTS = [0, 0, 1, 1]


class World:
    """The barriers of some ranks, and their words."""

    def __init__(self, hosts, quorum=None):
        self.layout = layout_of([np.zeros(4, np.float32)], hosts=max(hosts) + 1)
        memory = ThreadMemory(len(hosts), self.layout.nbytes)
        windows = [ThreadWindow(memory, rank) for rank in range(len(hosts))]
        self.verbs = Verbs(windows[0])
        self.barriers = [Barrier(window, self.layout, hosts, quorum, PERIOD) for window in windows]
        self.last = 0  # the last synchronisation

    def arrive(self, rank, step, joined=False, joining=0, calls=True, refuses=False):
        """Have a rank arrive, and look once: it then tells other hosts."""
        self.barriers[rank].arrive(step, self.last, not joined, refuses, joining, calls)
        self.barriers[rank].is_over()

    def over(self):
        """Return which ranks find the barrier over, the hosts below told by earlier looks."""
        for _ in range(3):
            found = [barrier.is_over() for barrier in self.barriers]
        return found

    def synchronize(self, step, joins):
        """Pass both barriers of a synchronisation at which one rank has joined after step 8, or none."""
        for rank in reversed(range(len(self.barriers))):
            self.arrive(rank, 9 if rank == joins else step, rank == joins, int(rank == joins))
        assert all(self.over())
        for rank in range(len(self.barriers)):
            self.arrive(rank, step, calls=False)
        assert all(self.over())
        self.last = step

    def called(self):
        """Return to which step the hosts are called."""
        [step] = {barrier.called() for barrier in self.barriers}
        return step

    def node(self):
        """Return of which barrier places of the root are marked, and which, as bits."""
        word = self.verbs.load(0, self.layout.node)[0]
        return word >> 39, word >> 22 & (1 << 17) - 1

    def counted(self, place):
        """Return how many arrivals the root knows of, at one of its places."""
        return self.verbs.load(0, self.layout.counted + 8 * place)[0] % (1 << 28)


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
    assert (world.node(), world.counted(1)) == ((0, 0), 0)
    world.arrive(3, 10)
    assert world.node() == (1, 2)


def test_with_a_quorum_each_arrival_is_counted_at_the_root_until_the_others_are_called():
    world = World([0, 0, 1, 1, 1, 1], quorum=3)
    for rank, counted in ((2, 1), (3, 2), (4, 3), (5, 3)):
        world.arrive(rank, 10)
        assert world.counted(1) == counted
    assert world.called() == 10


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)], ids=str)
@pytest.mark.parametrize("hosts", [[0] * 4, TWO_HOSTS], ids=str)
def test_a_barrier_is_over_when_the_last_rank_has_arrived(hosts, order):
    world = World(hosts)
    for step in (10, 20):
        for rank in order:
            assert not any(barrier.next_is_over(0) for barrier in world.barriers)
            world.arrive(rank, step)
        assert world.over() == [True] * 4


@pytest.mark.parametrize("hosts", [[0] * 4, TWO_HOSTS], ids=str)
def test_the_last_arrival_of_a_quorum_calls(hosts):
    world = World(hosts, quorum=3)
    for rank, called in ((3, 0), (1, 0), (2, 10), (0, 10)):
        world.arrive(rank, 10)
        assert world.called() == called


def test_arrivals_at_the_synchronisation_before_do_not_count_in_the_quorum():
    world = World(TWO_HOSTS, quorum=3)
    world.synchronize(10, joins=None)
    world.arrive(0, 20)
    assert world.called() == 10
    world.arrive(2, 20)
    world.arrive(3, 20)
    assert world.called() == 20


def test_a_rank_that_has_joined_does_not_count_in_the_quorum():
    world = World([0] * 4, quorum=2)
    world.synchronize(10, 3)
    world.arrive(3, 11, joined=True)
    world.arrive(0, 20)
    assert world.called() == 10
    world.arrive(1, 20)
    assert world.called() == 20


@pytest.mark.parametrize("refusing", [(0,), (3,), (1, 2), (2, 3)], ids=str)
@pytest.mark.parametrize("hosts", [[0] * 4, TWO_HOSTS], ids=str)
def test_the_lowest_rank_that_refuses_is_told_everywhere_and_once(hosts, refusing):
    world = World(hosts)
    for rank in (2, 3, 1, 0):
        world.arrive(rank, 10, refuses=rank in refusing)
    assert all(world.over())
    assert {barrier.refuser for barrier in world.barriers} == {refusing[0]}
    for rank in range(4):
        world.arrive(rank, 10)
    assert all(world.over())
    assert {barrier.refuser for barrier in world.barriers} == {-1}


@pytest.mark.parametrize("order", [(3, 0, 1, 2), (0, 1, 3, 2), (0, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("hosts", [[0] * 4, TWO_HOSTS], ids=str)
def test_a_rank_that_has_joined_and_refuses_is_told_though_others_are_at_a_later_step(hosts, order):
    world = World(hosts)
    for rank in order:
        world.arrive(rank, 3 if rank == 3 else 10, rank == 3, int(rank == 3), refuses=rank == 3)
    assert all(world.over())
    assert {(barrier.refuser, barrier.step) for barrier in world.barriers} == {(3, 10)}


@pytest.mark.parametrize("others", [(0,), (1,), (2,), (3,), (0, 1), (2, 3), (1, 2)], ids=str)
@pytest.mark.parametrize("hosts", [[0] * 4, TWO_HOSTS], ids=str)
def test_ranks_that_come_for_different_steps_are_told_so(hosts, others):
    world = World(hosts)
    for rank in range(4):
        world.arrive(rank, 20 if rank in others else 10)
    assert all(world.over())
    assert {barrier.refuser for barrier in world.barriers} == {MISMATCH}


def test_the_end_of_a_barrier_reaches_hosts_on_every_level_of_the_tree():
    """The root tells hosts 1 to 16, and host 1 those from 17 on."""
    world = World(range(20))
    for step in (10, 20):
        for rank in range(20):
            world.arrive(rank, step)
        assert all(world.over())


def test_who_asks_the_host_of_a_rank_that_has_gone_on_learns_the_end_and_tells_its_own_host():
    """The leader of host 1 has yet to tell host 17."""
    world = World(range(20))
    for rank in range(20):
        world.arrive(rank, 10)
    assert not world.barriers[17].is_over()
    assert not world.barriers[17].next_is_over(18)
    assert world.barriers[17].next_is_over(0)
    assert world.barriers[17].is_over()
