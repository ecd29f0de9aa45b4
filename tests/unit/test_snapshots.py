"""The models that a rank publishes: a snapshot is never overwritten while it is pinned, newest or lent."""

import ctypes
import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support import models
from tests.support.worlds import alone, layout_of
from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.protocol.snapshots import Snapshots
from wagma_rma.protocol.words import PIN_LIMIT
from wagma_rma.testing import ThreadMemory, ThreadWindow

COUNT = 20


def model(value):
    return [np.full(COUNT, value, np.float32)]


def content(rank, slot):
    """Return what lies in a slot of a rank, as an array over its memory."""
    memory = (ctypes.c_float * COUNT).from_address(rank.snapshots.address(slot))
    return np.frombuffer(memory, np.float32)


def published(rank):
    return rank.protocol.report()["published"]


# Publishing.


def test_the_start_is_published_at_its_step():
    rank = alone(model(5), step=7)
    step, slot = rank.newest
    assert step == 7
    assert (content(rank, slot) == 5).all()


def test_a_step_publishes_the_model_into_another_slot_and_returns_it():
    rank = alone(model(0))
    before = rank.newest[1]
    (out,) = rank.average(1, model(4))
    step, slot = rank.newest
    assert step == 1
    assert slot != before
    assert (content(rank, slot) == 4).all()
    assert (out == 4).all()
    assert (content(rank, before) == 0).all()


def test_what_was_published_can_be_restored():
    rank = alone(model(0))
    rank.average(1, model(4))
    (out,) = model(77)
    rank.pointers.hold([out], [out])
    rank.snapshots.restore_all(rank.pointers)
    assert (out == 4).all()


def test_a_rank_whose_slots_are_all_pinned_goes_on_without_publishing():
    rank = alone(model(0))
    pinned = []
    for step in (1, 2):
        pinned.append(rank.pin())
        rank.average(step, model(step))
    before = rank.newest
    (out,) = rank.average(3, model(3))
    assert not published(rank)
    assert rank.newest == before
    assert (out == 3).all(), "it has its own model all the same"
    assert rank.protocol.statistics()["unpublished"] == 1
    rank.unpin(pinned[1])
    rank.average(4, model(4))
    assert published(rank)
    assert rank.newest == (4, pinned[1])


def test_a_slot_that_becomes_free_within_patience_is_waited_for():
    rank = alone(model(0), patience=60.0)
    pinned = []
    for step in (1, 2):
        pinned.append(rank.pin())
        rank.average(step, model(step))
    waiting = threading.Thread(target=rank.average, args=(3, model(3)))
    waiting.start()
    time.sleep(0.05)
    rank.unpin(pinned[0])
    waiting.join(60)
    assert published(rank)
    assert 0 < rank.protocol.report()["seconds_waited"] < 60
    assert rank.newest == (3, pinned[0])


class Pins(RuleBasedStateMachine):
    """Any order of publications, pins and returns of pins, of one rank."""

    @initialize(slots=st.integers(3, 5), before=st.sampled_from([0, PIN_LIMIT - 1, PIN_LIMIT - 2]))
    def begin(self, slots, before):
        self.rank = alone(model(0), slots=slots)
        self.slots = slots
        # As many pins were taken before, and given back: the field of pins is about to overflow.
        self.rank.unpin(self.rank.pin(before), before)
        self.step = 1
        self.rank.average(self.step, model(self.step))
        self.pins = Counter()
        self.value = {self.rank.newest[1]: self.step}

    @rule()
    def publish(self):
        newest = self.rank.newest[1]
        free = {slot for slot in range(self.slots) if slot != newest and not self.pins[slot]}
        self.step += 1
        self.rank.average(self.step, model(self.step))
        assert published(self.rank) == bool(free)
        if free:
            assert self.rank.newest[1] in free
            self.value[self.rank.newest[1]] = self.step

    @rule()
    def pin(self):
        slot = self.rank.pin()
        assert slot == self.rank.newest[1]
        self.pins[slot] += 1

    @precondition(lambda self: self.pins.total())
    @rule(data=st.data())
    def unpin(self, data):
        slot = data.draw(st.sampled_from([slot for slot, pins in sorted(self.pins.items()) if pins]))
        self.rank.unpin(slot)
        self.pins[slot] -= 1

    @invariant()
    def a_snapshot_stays_as_it_was_published(self):
        for slot in {*self.pins.elements(), self.rank.newest[1]}:
            assert (content(self.rank, slot) == self.value[slot]).all()

    @invariant()
    def the_rank_knows_every_pin(self):
        assert self.rank.snapshots.pins() == [self.pins[slot] for slot in range(self.slots)]


TestPins = Pins.TestCase
TestPins.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


# Lending.


def test_a_lent_slot_is_neither_the_newest_nor_pinned_and_no_step_takes_it():
    rank = alone(model(0), slots=4)
    pinned = rank.pin()
    rank.average(1, model(1))
    lent = rank.snapshots.lend()
    assert lent not in (pinned, rank.newest[1])
    for step in range(2, 10):
        rank.average(step, model(step))
        assert rank.newest[1] not in (pinned, lent) or not published(rank)
    assert rank.snapshots.is_lent(lent)


def test_slots_are_lent_until_there_is_none():
    rank = alone(model(0))
    lent = [rank.snapshots.lend() for _ in range(3)]
    assert sorted([*lent[:2], rank.newest[1]]) == [0, 1, 2]
    assert lent[2] == -1
    rank.snapshots.take_back(lent[0])
    assert rank.snapshots.lend() == lent[0]


def test_a_model_in_a_lent_slot_is_published_as_it_lies():
    rank = alone(model(0))
    slot = rank.snapshots.lend()
    lent = content(rank, slot)
    lent[:] = 6
    (out,) = rank.average(1, [lent])
    assert rank.newest == (1, slot)
    assert not rank.snapshots.is_lent(slot)
    assert (out == 6).all()


@pytest.mark.parametrize("what", ["a part of the model", "its output", "another leaf"])
def test_a_lent_slot_that_holds_less_than_the_model_or_its_output_is_not_published_there(what):
    start = [np.zeros(4, np.float32), np.zeros(4, np.float32)]
    rank = alone(start, slots=4)
    slot = rank.snapshots.lend()
    lent = np.frombuffer((ctypes.c_float * 8).from_address(rank.snapshots.address(slot)), np.float32)
    lent[:] = 6
    other = np.full(4, 6, np.float32)
    sources, targets = {
        "a part of the model": ([lent[:4], other], None),
        "its output": ([lent[:4], lent[4:]], [lent[:4], lent[4:]]),
        "another leaf": ([lent[4:], lent[:4]], None),
    }[what]
    out = rank.average(1, sources, targets)
    assert rank.newest[1] != slot
    assert rank.snapshots.is_lent(slot)
    assert all((leaf == 6).all() for leaf in out)


def test_a_model_without_elements_lies_in_no_slot():
    rank = alone([np.zeros(0, np.float32)])
    slot = rank.snapshots.lend()
    rank.average(1, [np.zeros(0, np.float32)])
    assert rank.snapshots.is_lent(slot)


# A synchronisation.


@pytest.mark.parametrize("synchronized", [(), (True, False, True, False), (False, True, False, True)])
def test_the_mean_of_all_contributions_is_published_and_restored(synchronized):
    ranks = 3
    start = [np.zeros(33, dtype) for dtype in models.DTYPES]
    layout = layout_of(start, synchronized=synchronized)
    memory = ThreadMemory(ranks, layout.nbytes)
    rng = np.random.default_rng(1)
    own = [[rng.standard_normal(33).astype(leaf.dtype) for leaf in start] for _ in range(ranks)]
    everyone = []
    for rank, leaves in enumerate(own):
        snapshots = Snapshots(ThreadWindow(memory, rank), layout)
        pointers = LeafPointers(layout.order)
        out = [np.empty_like(leaf) for leaf in leaves]
        pointers.hold(leaves, out)
        snapshots.prepare(pointers)
        snapshots.begin(0)
        snapshots.restore_all(pointers)
        assert models.same_bits(out, leaves)
        mine = [leaf + 1 for leaf in leaves]
        pointers.hold(mine, out)
        snapshots.contribute(pointers)
        # Until the sums are there a leaf that is in no snapshot is as this rank has contributed it.
        snapshots.restore_all(pointers)
        alone = synchronized or [False] * len(start)
        assert models.same_bits(out, [mine[i] if alone[i] else leaves[i] for i in range(len(start))])
        own[rank] = mine
        everyone.append((snapshots, pointers, out))
    # What MPI does: result 0 of all ranks is summed into result 1 of each.
    totals = [sum(np.array(s.sums(0)[part]) for s, _, _ in everyone) for part in range(4)]
    for snapshots, pointers, out in everyone:
        for part, total in enumerate(totals):
            np.asarray(snapshots.sums(1)[part])[:] = total
        snapshots.publish_mean(4)
        snapshots.restore_all(pointers)
        assert models.same_bits(out, models.group_mean(own))
        assert snapshots.pins() == [0] * layout.slots


def test_a_mean_that_finds_all_slots_pinned_is_a_defect_and_says_so():
    rank = alone(model(0))
    for step in (1, 2):
        rank.pin()
        rank.average(step, model(step))
    with pytest.raises(RuntimeError, match=r"rank 0 finds all its snapshots pinned at step 3 .*a defect"):
        rank.snapshots.publish_mean(3)
