"""With overlap a group step returns when it has published; what it brings is added to the next model."""

import ctypes
import threading

import numpy as np
import pytest

from tests.support import models
from tests.support.worlds import make_ranks
from wagma_rma.protocol.protocol import nothing
from wagma_rma.report import Outcome

DTYPES = models.DTYPES


def leaves(seed):
    """Return leaves of all dtypes."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(40 + 30 * i).astype(dtype) for i, dtype in enumerate(DTYPES)]


def ranks(overlap=True, **options):
    return make_ranks(leaves(0), overlap=overlap, **options)


def step(rank, number, model, out=None):
    """Do a group step, and wait for its rest if no thread performs that."""
    result = rank.average(number, model, out)
    if rank.worker is None:
        rank.protocol.await_rest(nothing, nothing)
    return result


def moved(model, average, before):
    return [models.moved(*parts) for parts in zip(model, average, before, strict=True)]


def outcome(rank):
    return Outcome(rank.protocol.report()["outcome"])


def completed(rank, model):
    """Return a model with what is pending."""
    out = [np.full_like(leaf, 77) for leaf in model]
    rank.pointers.hold(model, out)
    rank.protocol.make_move(rank.pointers)
    rank.pointers.release()
    return out


def test_a_step_gives_the_model_itself_and_the_next_one_what_the_first_has_brought():
    first, other = ranks()
    y = leaves(1)
    assert models.same_bits(step(first, 1, y), y)
    # Alone it has averaged its model with the other's start.
    average = models.group_mean([y, leaves(0)])
    assert outcome(first) is Outcome.FRESH
    z = step(first, 2, leaves(2))
    assert models.same_bits(z, moved(leaves(2), average, y))
    # What it has published is the same: the other, who comes late, finds it in the sum.
    step(other, 1, leaves(11))
    assert outcome(other) is Outcome.LATE
    step(other, 2, leaves(12))
    record = models.group_mean([z, leaves(0)])
    assert models.same_bits(step(first, 3, leaves(3)), moved(leaves(3), record, z))


def test_a_late_rank_gets_the_sum_mixed_with_what_it_has_published():
    first, other = ranks()
    step(first, 1, leaves(1))
    late = step(other, 1, leaves(11))
    assert models.same_bits(late, leaves(11))
    assert outcome(other) is Outcome.LATE
    mixed = models.group_mean([leaves(1), leaves(0), leaves(11)])
    assert models.same_bits(step(other, 2, leaves(12)), moved(leaves(12), mixed, leaves(11)))


def test_after_a_missed_step_nothing_is_added():
    first, other = ranks()
    for number in range(1, 5):
        step(first, number, leaves(number))
    step(other, 1, leaves(11))  # whose sums, in result 1, step 4 has replaced
    step(other, 2, [np.full_like(leaf, np.inf) for leaf in leaves(12)])
    assert outcome(other) in (Outcome.LATE, Outcome.MISSED)
    infinite = outcome(other) is Outcome.MISSED
    z = step(other, 3, leaves(13))
    assert models.same_bits(z, leaves(13)) is infinite


def test_in_place_and_on_entangled_leaves_the_same_comes_out():
    apart, entangled = (ranks()[0] for _ in range(2))
    expected = None
    for rank in (apart, entangled):
        step(rank, 1, leaves(1))
        model = leaves(2)
        if rank is apart:
            expected = step(rank, 2, model)
            continue
        # The output of the second leaf, which comes first in a snapshot, lies where the first leaf is read.
        memory = np.zeros(1000, np.float32)
        memory[:40] = model[0]
        model[0] = memory[:40]
        out = [np.empty_like(leaf) for leaf in model]
        out[1] = memory[: 2 * 70].view(np.float64)
        assert models.same_bits(step(rank, 2, model, out), expected)
    again = ranks()[0]
    step(again, 1, leaves(1))
    model = leaves(2)
    step(again, 2, model, model)
    assert models.same_bits(model, expected)


def test_a_model_that_can_not_be_published_gets_what_is_pending_too():
    first, _ = ranks()
    slots = [first.pin()]
    step(first, 1, leaves(1))
    slots.append(first.pin())
    step(first, 2, leaves(2))
    slots.append(first.pin())
    for number in (3, 4, 5):
        brought = completed_by(first, number, leaves(number))
        before = first.newest
        assert models.same_bits(step(first, number, leaves(number)), brought)
        assert first.newest == before
        assert not first.protocol.report()["published"]


def completed_by(rank, number, model):
    """Return what a step will give, from a rank of another world that has done the same."""
    twin, _ = ranks()
    pins = {0: 1, 1: 1, 2: 1}
    for at in range(number):
        if at in pins:
            if at:
                step(twin, at, leaves(at))
            twin.pin()
        else:
            step(twin, at, leaves(at))
    return completed(twin, model)


def test_a_synchronisation_gets_the_model_with_what_is_pending():
    first, other = ranks()
    step(first, 1, leaves(1))
    expected = moved(leaves(2), models.group_mean([leaves(1), leaves(0)]), leaves(1))
    first.contribute(leaves(2))
    other.contribute(leaves(12))
    contributed = first.verbs.load(0, first.layout.contributed)[0] & 0xFF
    slot = first.snapshots.address(contributed)
    for leaf, offset in zip(expected, first.layout.offsets(), strict=True):
        found = ctypes.string_at(slot + offset, leaf.nbytes)
        assert found == leaf.tobytes()
    first.protocol.synchronized(2)
    assert models.same_bits(step(first, 3, leaves(3)), leaves(3)), "nothing is pending any more"


def test_completing_adds_what_is_pending_once():
    first, _ = ranks()
    y = leaves(1)
    z = step(first, 1, y)
    assert models.same_bits(completed(first, z), moved(z, models.group_mean([y, leaves(0)]), y))
    assert models.same_bits(completed(first, z), z)
    assert models.same_bits(step(first, 2, leaves(2)), leaves(2))


def test_between_two_group_steps_nothing_is_added():
    first, _ = ranks(group_period=2, records=4)
    y = leaves(1)
    assert models.same_bits(step(first, 1, y), y)
    step(first, 2, y)
    assert models.same_bits(step(first, 3, leaves(3)), leaves(3))
    average = models.group_mean([y, leaves(0)])
    assert models.same_bits(step(first, 4, leaves(4)), moved(leaves(4), average, y))


def test_the_program_goes_on_while_a_thread_waits_for_the_group():
    first, other = ranks("thread", quorum=2)
    y = leaves(1)
    assert models.same_bits(step(first, 1, y), y)
    assert first.protocol.rest_under_way
    assert not first.protocol.rest_is_done(), "it needs the other rank"
    assert first.worker.thread.is_alive() and first.worker.thread is not threading.current_thread()
    for leaf in y:
        leaf[...] = 99  # it is the program's again
    step(other, 1, leaves(11))
    for rank in (first, other):
        rank.protocol.await_rest(nothing, nothing)
        assert outcome(rank) is Outcome.FRESH
    average = models.group_mean([leaves(1), leaves(11)])
    assert models.same_bits(step(first, 2, leaves(2)), moved(leaves(2), average, leaves(1)))
    step(other, 2, leaves(12))
    for rank in (first, other):
        rank.protocol.await_rest(nothing, nothing)
        rank.worker.stop()
        rank.worker.thread.join(10)
        assert not rank.worker.thread.is_alive()


def test_what_the_wait_for_the_rest_raises_ends_the_waits_of_the_rest():
    class Pressed(Exception):
        pass

    def look():
        raise Pressed

    ended = []

    def end(error):
        ended.append(error)
        first.window.waiter.watcher = raising(error)

    def raising(error):
        def watcher(seconds, rank):
            raise error

        return watcher

    first, _ = ranks("thread", quorum=2)
    step(first, 1, leaves(1))
    with pytest.raises(Pressed):
        first.protocol.await_rest(look, end)
    assert len(ended) == 1
    assert outcome(first) is Outcome.MISSED
    first.window.waiter.watcher = None
    assert models.same_bits(step(first, 2, leaves(2)), leaves(2))
    first.window.waiter.watcher = raising(Pressed())
    with pytest.raises(Pressed):
        first.protocol.await_rest(nothing, nothing)
