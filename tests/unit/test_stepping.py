"""A group step is one call that nothing interrupts: one thread at a time, in the default arithmetic."""

import threading

import numpy as np
import pytest

from tests.support.float_modes import THIRD, flushing, quotient, rounding_up, smallest
from tests.support.worlds import make_ranks
from wagma_rma.kernels.floats import DefaultFloats
from wagma_rma.protocol.words import STEP_LIMIT
from wagma_rma.stepping import Stepper, check_countable, deliver

COUNT = 5


def model(value):
    return np.full(COUNT, value, np.float32)


class Stepping:
    """A stepper of one of two ranks, and what it calls."""

    def __init__(self, expect=None, **options):
        self.rank, _ = make_ranks([model(0)], **options)
        self.busy = threading.Lock()
        self.expected = []
        self.left = []
        self.stepper = Stepper(
            self.rank.protocol,
            self.rank.pointers,
            DefaultFloats(),
            self.busy,
            expect or self.note,
            self.left.append,
        )

    def note(self):
        self.expected.append(self.rank.protocol.last_step)

    def step(self, source, target=None, output=None):
        target = model(77) if target is None else target
        targets = [target]
        return self.stepper.step([source], targets, targets if output is None else [output])


@pytest.fixture
def stepping():
    return Stepping()


class Broken(Exception):
    pass


def broken():
    raise Broken


def test_a_step_averages_and_counts(stepping):
    out = model(77)
    assert stepping.step(model(4), out) is True
    assert (out == 2).all()
    assert stepping.rank.protocol.last_step == 1
    assert stepping.expected == [0], "asked for before the step"
    assert stepping.left == []


def test_a_second_thread_is_refused_and_changes_nothing(stepping):
    out = model(77)
    with stepping.busy:
        assert stepping.step(model(4), out) is False
    assert (out == 77).all()
    assert stepping.rank.protocol.last_step == 0
    assert stepping.expected == []
    assert stepping.step(model(4), out) is True


def test_no_other_thread_may_use_the_averager_during_a_step(stepping):
    locked = []

    def source():
        locked.append(stepping.busy.locked())
        return model(4)

    stepping.step(source)
    assert locked == [True]
    assert not stepping.busy.locked()


def test_arithmetic_is_the_default_one_during_a_step_and_as_before_afterwards(stepping):
    found = []

    def source():
        found.append((quotient(), smallest()))
        return model(4)

    with rounding_up(), flushing():
        stepping.step(source)
        assert smallest() == 0
        assert quotient() != THIRD
    assert found == [(THIRD, 5e-324)]


# Errors.


def test_a_step_that_cannot_be_completed_is_told_with_its_error(stepping):
    with pytest.raises(Broken) as raised:
        stepping.step(broken)
    assert stepping.left == [raised.value]
    assert stepping.rank.protocol.last_step == 0
    assert not stepping.busy.locked()


def test_an_error_before_the_step_leaves_nothing_in_the_middle():
    stepping = Stepping(expect=broken)
    with pytest.raises(Broken):
        stepping.step(model(4))
    assert stepping.left == []
    assert stepping.rank.protocol.last_step == 0
    assert not stepping.busy.locked()


def test_an_interruption_of_a_step_that_counts_leaves_nothing_in_the_middle():
    stepping = Stepping(quorum=2)
    stepping.rank.window.waiter.watcher = lambda waited, rank: broken()
    output = np.full(2 * COUNT, 77, np.float32)[::2]
    with pytest.raises(Broken):
        stepping.step(model(4), model(77), output)
    assert stepping.left == []
    assert stepping.rank.protocol.last_step == 1
    assert (output == 4).all(), "the step is over, so its output is delivered"


def test_after_an_error_the_environment_is_as_it_was(stepping):
    with rounding_up():
        with pytest.raises(Broken):
            stepping.step(broken)
        assert quotient() != THIRD


# Outputs.


def test_an_output_that_is_not_its_own_target_is_copied_from_it(stepping):
    output = np.full(2 * COUNT, 77, np.float32)[::2]
    stepping.step(model(4), model(77), output)
    assert (output == 2).all()


def test_a_step_left_in_the_middle_delivers_nothing(stepping):
    output = model(77)
    with pytest.raises(Broken):
        stepping.step(broken, model(1), output)
    assert (output == 77).all()


def test_deliver_copies_what_is_not_in_its_place_and_leaves_the_rest():
    here, there, elsewhere = model(1), model(2), model(3)
    here.flags.writeable = False  # a copy onto itself would fail
    deliver([here, elsewhere], [here, there])
    assert (elsewhere == 2).all()


def test_addresses_need_no_delivery():
    addresses = [4096, 8192]
    deliver(addresses, addresses)


# The last step.


def test_the_last_step_that_the_words_count_is_served_and_the_next_refused():
    stepping = Stepping(step=STEP_LIMIT - 2)
    assert stepping.step(model(4)) is True
    assert stepping.rank.protocol.last_step == STEP_LIMIT - 1
    with pytest.raises(RuntimeError) as raised:
        stepping.step(model(4))
    assert str(raised.value) == (
        f"average: step {STEP_LIMIT - 1} is the last that a run can count; start a new run"
    )
    assert stepping.left == []
    assert not stepping.busy.locked()


def test_a_step_that_can_be_counted_is_not_refused():
    check_countable("synchronize", STEP_LIMIT - 1)
    with pytest.raises(RuntimeError, match=r"^synchronize: step "):
        check_countable("synchronize", STEP_LIMIT)
