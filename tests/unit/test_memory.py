"""The caller's memory at a step: plain memory to read and to write, whatever the caller has."""

import threading

import numpy as np
import pytest

from tests.support.worlds import alone
from wagma_rma.buffers import Buffers
from wagma_rma.memory import Memory, SecondThread
from wagma_rma.model.structure import Structure

COUNT = 6


def model(value=1):
    return {"a": np.full(COUNT, value, np.float32), "b": [np.full((2, 3), value, np.float64)]}


class World:
    """The memory of an averager's steps, and the buffers that it may lend."""

    def __init__(self, slots=4):
        structure = Structure("test", model())
        self.rank = alone(structure.leaves("test", model()), slots=slots)
        self.buffers = Buffers(self.rank.snapshots, self.rank.layout, structure)
        self.busy = threading.Lock()
        self.memory = Memory(structure, self.buffers, None, self.busy)

    def hold(self, model, out=None, **options):
        return self.memory.hold("average", model, out, **options)

    def lend(self):
        """Do what buffers() does: lend the caller a model."""
        leaves = self.buffers.besides([])
        for leaf in leaves:
            leaf[...] = 1
        return {"a": leaves[0], "b": [leaves[1]]}


@pytest.fixture
def world():
    return World()


def leaves_of(tree):
    return [tree["a"], tree["b"][0]]


def lie_in(leaves, others):
    """Say of each leaf whether it lies in the memory of the other at its place."""
    return [np.shares_memory(leaf, other) for leaf, other in zip(leaves, others, strict=True)]


# Sources and outputs.


def test_at_a_local_step_lent_arrays_stay_with_the_caller(world):
    lent = world.lend()
    held = world.hold(lent, local=True)
    assert all(leaf is output for leaf, output in zip(leaves_of(lent), held.outputs, strict=True))
    # A model that lies elsewhere goes into the lent arrays, and is not lent a second slot.
    held = world.hold(model(), local=True)
    assert all(leaf is output for leaf, output in zip(leaves_of(lent), held.outputs, strict=True))


def test_plain_arrays_are_read_and_written_where_they_lie(world):
    mine, out = model(), model()
    held = world.hold(mine, out)
    assert held.result is out
    for found, expected in ((held.sources, mine), (held.outputs, out), (held.targets, out)):
        assert all(leaf is other for leaf, other in zip(found, leaves_of(expected), strict=True))


def test_an_output_in_place_is_the_model_itself(world):
    mine = model()
    held = world.hold(mine, mine)
    assert held.result is mine
    assert all(leaf is target for leaf, target in zip(held.sources, held.targets, strict=True))


def test_without_an_output_new_arrays_come_in_containers_like_the_models(world):
    mine = model()
    held = world.hold(mine)
    assert list(held.result) == ["a", "b"]
    assert [(leaf.shape, leaf.dtype) for leaf in held.outputs] == [((COUNT,), "float32"), ((2, 3), "float64")]
    assert all(leaf is output for leaf, output in zip(leaves_of(held.result), held.outputs, strict=True))
    assert lie_in(held.outputs, leaves_of(mine)) == [False, False]


def test_an_array_that_is_not_plain_is_read_from_a_copy(world):
    mine = {"a": np.arange(2 * COUNT, dtype=np.float32)[::2], "b": model()["b"]}
    source = world.hold(mine).sources[0]
    assert source.flags.c_contiguous
    assert source.tolist() == mine["a"].tolist()
    assert not np.shares_memory(source, mine["a"])


def test_an_output_that_is_not_plain_is_written_through_a_target_of_the_same_kind(world):
    strided = np.full(2 * COUNT, 7, np.float32)[::2]
    held = world.hold(model(), {**model(), "a": strided})
    assert held.outputs[0] is strided
    assert held.targets[0] is not strided
    assert (held.targets[0].shape, held.targets[0].dtype) == (strided.shape, strided.dtype)
    assert held.targets[0].flags.c_contiguous
    assert held.targets[1] is held.outputs[1]
    assert (strided == 7).all()


# What is refused.


def test_a_read_only_output_is_refused_by_its_path(world):
    out = model()
    out["b"][0].flags.writeable = False
    with pytest.raises(ValueError) as raised:
        world.hold(model(), out)
    assert str(raised.value) == (
        "average: out['b'][0] is read-only; pass a writable array, or out=None for new ones"
    )
    with pytest.raises(ValueError, match=r"^average: out\['b'\]\[0\] is read-only"):
        world.hold(out, out)
    assert len(world.hold(out).sources) == 2, "a model is only read"


@pytest.mark.parametrize(
    ("mine", "out", "text"),
    [
        ({"a": model()["a"]}, None, r"^average: model\['b'\]\[0\] is missing"),
        (model(), {"a": model()["a"]}, r"^average: out\['b'\]\[0\] is missing"),
        ({**model(), "a": np.zeros(3)}, None, r"^average: model\['a'\] is float64"),
        (model(), {**model(), "a": np.zeros(3)}, r"^average: out\['a'\] is float64"),
    ],
)
def test_what_is_not_like_the_model_is_refused(world, mine, out, text):
    with pytest.raises(ValueError, match=text):
        world.hold(mine, out)


# Once buffers have been lent.


def test_the_average_of_a_lent_model_goes_into_another_lent_slot(world):
    mine = world.lend()
    held = world.hold(mine)
    assert all(leaf is source for leaf, source in zip(leaves_of(mine), held.sources, strict=True))
    assert lie_in(held.outputs, leaves_of(mine)) == [False, False]
    assert world.buffers.holds_any_of(held.outputs)
    assert all(leaf is target for leaf, target in zip(held.outputs, held.targets, strict=True))


def test_at_a_synchronisation_the_mean_goes_into_the_lent_model_itself(world):
    mine = world.lend()
    held = world.hold(mine, together=True)
    assert lie_in(held.outputs, leaves_of(mine)) == [True, True]


def test_the_average_of_an_ordinary_model_goes_into_the_lent_slot(world):
    lent = world.lend()
    held = world.hold(model())
    assert lie_in(held.outputs, leaves_of(lent)) == [True, True]


def test_where_no_slot_is_free_the_average_goes_into_ordinary_arrays():
    world = World(slots=3)
    world.rank.pin()
    world.rank.average(1, leaves_of(model()))  # so one slot is free
    mine = world.lend()
    held = world.hold(mine)
    assert not world.buffers.holds_any_of(held.outputs)
    assert [leaf.shape for leaf in held.outputs] == [(COUNT,), (2, 3)]


def test_a_lent_array_that_gets_its_average_after_the_step_is_no_source_of_it(world):
    # A reversed view is not plain. The step would publish the slot, and then write to it.
    mine = world.lend()
    backwards = mine["a"][::-1]
    held = world.hold(mine, {**model(), "a": backwards})
    assert held.targets[0] is not held.outputs[0]
    assert not world.buffers.holds_any_of(held.sources)
    assert [source.tolist() for source in held.sources] == [leaf.tolist() for leaf in leaves_of(mine)]


def test_another_thread_in_a_step_keeps_slots_from_being_lent(world):
    mine = world.lend()
    with world.busy, pytest.raises(SecondThread):
        world.hold(mine)
    assert world.busy.acquire(blocking=False), "the lock was given back"


def test_before_anything_was_lent_another_thread_is_no_hindrance(world):
    with world.busy:
        assert len(world.hold(model()).outputs) == 2
