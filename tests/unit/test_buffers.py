"""Slots of the snapshots as the caller's arrays: lent, published, taken back, and never two ways at once."""

import gc

import ml_dtypes
import numpy as np
import pytest

from tests.support.worlds import alone
from wagma_rma.buffers import Buffers
from wagma_rma.model.structure import Structure

START = [np.zeros((2, 3), np.float32), np.zeros(4, ml_dtypes.bfloat16), np.zeros(0), np.zeros(())]


def ordinary(value=1):
    return [np.full_like(leaf, value) for leaf in START]


class World:
    """A rank that averages with nobody, and its buffers."""

    def __init__(self, slots=3):
        self.rank = alone(START, slots=slots)
        self.buffers = Buffers(self.rank.snapshots, self.rank.layout, Structure("test", START))
        self.steps = 0

    def lend(self):
        """Lend a model as buffers() does, before a step."""
        self.buffers.settle()
        leaves = self.buffers.lent()
        return leaves if leaves is not None else self.buffers.besides([])

    def average(self, leaves):
        """Do a step as average() does; return what it gave."""
        self.steps += 1
        out = self.buffers.besides(leaves)
        out = self.rank.average(self.steps, leaves, out)
        self.buffers.settle()
        return out


@pytest.fixture
def world():
    return World()


def writable(leaves):
    (answer,) = {leaf.flags.writeable for leaf in leaves}
    return answer


def same_memory(leaves, others):
    return all(
        leaf.ctypes.data == other.ctypes.data for leaf, other in zip(leaves, others, strict=True) if leaf.size
    )


def test_nothing_is_lent_at_first(world):
    assert world.buffers.lent() is None
    assert not world.buffers.used
    assert not world.buffers.in_use()


def test_lent_arrays_are_of_the_models_shapes_and_dtypes_and_may_be_written_to(world):
    lent = world.lend()
    assert [(leaf.shape, leaf.dtype) for leaf in lent] == [(leaf.shape, leaf.dtype) for leaf in START]
    assert writable(lent)
    assert all(leaf.flags.c_contiguous and leaf.flags.aligned for leaf in lent)
    assert world.buffers.used


def test_leaves_do_not_overlap(world):
    lent = world.lend()
    for value, leaf in enumerate(lent):
        leaf[...] = value
    assert all((leaf == value).all() for value, leaf in enumerate(lent))


def test_one_slot_is_lent_between_steps_and_asking_again_gives_the_same(world):
    lent = world.lend()
    assert world.buffers.lent() is lent
    assert world.lend() is lent


def test_a_step_publishes_lent_arrays_as_they_lie_and_makes_them_read_only(world):
    lent = world.lend()
    for leaf in lent:
        leaf[...] = 5
    address = lent[0].ctypes.data
    out = world.average(lent)
    newest = world.rank.newest[1]
    assert (
        world.rank.snapshots.address(newest)
        <= address
        < world.rank.snapshots.address(newest) + (world.rank.layout.snapshot_bytes)
    )
    assert not writable(lent)
    assert writable(out)
    assert not same_memory(lent, out)
    assert all((leaf == 5).all() for leaf in out)


def test_the_average_is_the_next_model_for_as_long_as_one_likes(world):
    leaves = world.lend()
    for value in range(1, 20):
        for leaf in leaves:
            leaf[...] = value
        leaves = world.average(leaves)
        assert world.buffers.lent() is leaves
        assert all((leaf == value).all() for leaf in leaves)


def test_an_average_that_was_not_made_is_taken_back(world):
    lent = world.lend()
    average = world.buffers.besides(lent)
    world.buffers.settle()
    assert world.buffers.lent() is lent
    assert writable(lent)
    assert not writable(average), "its slot may be published from now on"
    assert world.rank.snapshots.lend() >= 0


def test_settling_twice_is_settling_once(world):
    lent = world.lend()
    world.buffers.besides(lent)
    world.buffers.settle()
    world.buffers.settle()
    assert world.buffers.lent() is lent


def test_a_slot_that_was_lent_and_not_noted_is_taken_back(world):
    # Ctrl-C may come between the two.
    slot = world.rank.snapshots.lend()
    world.buffers.settle()
    assert not world.rank.snapshots.is_lent(slot)


# Where the average goes.


def test_an_ordinary_models_average_goes_into_the_lent_slot(world):
    lent = world.lend()
    assert world.buffers.besides(ordinary()) is lent


def test_a_model_that_lies_partly_in_the_lent_slot_needs_a_free_slot_itself(world):
    lent = world.lend()
    assert world.buffers.besides([lent[0], *ordinary()[1:]]) is None
    assert world.buffers.besides([lent[0][::-1], *lent[1:]]) is None


def test_a_lent_models_average_goes_elsewhere_or_nowhere():
    world = World(slots=3)
    lent = world.lend()
    first = world.buffers.besides(lent)
    assert first is not None
    assert not same_memory(first, lent)
    world = World(slots=3)
    world.rank.pin()
    world.rank.average(1, ordinary())
    assert world.buffers.besides(world.lend()) is None, "no slot is left"


def test_only_leaves_that_begin_in_a_lent_slot_are_held_by_it(world):
    lent = world.lend()
    assert world.buffers.holds_any_of([*ordinary(), lent[1]])
    assert world.buffers.holds_any_of([lent[0][1:]])
    assert not world.buffers.holds_any_of(ordinary())


# The end.


def test_arrays_that_somebody_keeps_are_in_use_and_views_of_them_too(world):
    view = world.lend()[0][1:]
    assert world.buffers.in_use()
    del view
    assert not world.buffers.in_use()


def test_arrays_of_earlier_steps_are_in_use_as_well(world):
    first = world.lend()
    second = world.average(first)
    del second
    assert world.buffers.in_use()
    del first
    assert not world.buffers.in_use()


def test_a_cycle_of_references_does_not_keep_arrays_in_use(world):
    gc.disable()
    try:
        cycle = [world.lend()]
        cycle.append(cycle)
        del cycle
        assert not world.buffers.in_use()
    finally:
        gc.enable()
