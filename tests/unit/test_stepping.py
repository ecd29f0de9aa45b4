"""A group step is one call that nothing interrupts: one thread at a time, in the default arithmetic."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.float_modes import THIRD, flushing, quotient, rounding_up, smallest
from tests.support.worlds import make_ranks
from wagma_rma.kernels.floats import DefaultFloats
from wagma_rma.lifecycle import Event, Lifecycle, State
from wagma_rma.protocol.synchronization import StepMismatch
from wagma_rma.protocol.words import STEP_LIMIT
from wagma_rma.stepping import Stepper, check_countable, deliver

COUNT = 5
PERIOD = 4


def model(value):
    return np.full(COUNT, value, np.float32)


def strided(value):
    """Return an array that is not plain."""
    return np.full(2 * COUNT, value, np.float32)[::2]


class Broken(Exception):
    pass


class NotReady(Exception):
    pass


class SecondThread(Exception):
    pass


def fail(kind):
    def failing(*ignored):
        raise kind

    return failing


broken = fail(Broken)


class Stepping:
    """A stepper of one of two ranks, and what it calls."""

    def __init__(self, expect=None, single=True, **options):
        self.rank, _ = make_ranks([model(0)], **options)
        self.busy = threading.Lock()
        self.lifecycle = Lifecycle()
        self.expected, self.settled = [], []
        self.buffers = SimpleNamespace(used=False, settle=lambda: self.settled.append(self.step_done))
        self.stepper = Stepper(
            self.rank.protocol,
            self.rank.pointers,
            DefaultFloats(),
            PERIOD,
            1,
            model(0) if single else None,
            self.buffers,
            self.lifecycle,
            self.busy,
            fail(NotReady),
            expect or (lambda: self.expected.append(self.step_done)),
            fail(SecondThread),
        )

    @property
    def step_done(self):
        return self.rank.protocol.last_step

    def step(self, source, target=None, output=None):
        targets = [model(77) if target is None else target]
        self.stepper.step([source], targets, targets if output is None else [output])

    def assert_untouched(self):
        """Check that no step has been done or begun, and that the averager can be used."""
        assert self.step_done == 0
        assert self.lifecycle.state is State.READY
        assert not self.busy.locked()


@pytest.fixture
def stepping():
    return Stepping()


def test_a_step_averages_and_counts(stepping):
    out = model(77)
    stepping.step(model(4), out)
    assert (out == 2).all()
    assert stepping.step_done == 1
    assert stepping.expected == [0], "asked for before the step"
    assert not stepping.busy.locked()


def test_a_second_thread_is_refused_and_changes_nothing(stepping):
    out = model(77)
    with stepping.busy, pytest.raises(SecondThread):
        stepping.step(model(4), out)
    assert (out == 77).all()
    assert stepping.expected == []
    stepping.assert_untouched()
    stepping.step(model(4), out)
    assert stepping.step_done == 1


def test_no_other_thread_may_use_the_averager_during_a_step(stepping):
    locked = []

    def source():
        locked.append(stepping.busy.locked())
        return model(4)

    stepping.step(source)
    assert locked == [True]


def test_a_state_that_serves_no_group_step_is_refused_before_anything_else(stepping):
    stepping.lifecycle.happens(Event.BEGIN)
    out = model(77)
    with pytest.raises(NotReady):
        stepping.step(model(4), out)
    assert (out == 77).all()
    assert stepping.step_done == 0
    assert stepping.expected == []


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


# The shortest way.


def test_one_plain_array_in_place_is_served_at_once(stepping):
    array = model(4)
    assert stepping.stepper.step_in_place(array, array) is True
    assert (array == 2).all()
    assert stepping.step_done == 1


@pytest.mark.parametrize("array", [model(4).astype(np.float64), strided(4), model(4)[:2], [4.0] * COUNT])
def test_any_other_model_takes_the_longer_way(stepping, array):
    assert stepping.stepper.step_in_place(array, array) is False
    stepping.assert_untouched()


def test_an_output_of_its_own_takes_the_longer_way(stepping):
    assert stepping.stepper.step_in_place(model(4), None) is False
    assert stepping.stepper.step_in_place(model(4), model(4)) is False
    stepping.assert_untouched()


def test_a_model_of_several_arrays_takes_the_longer_way():
    stepping, array = Stepping(single=False), model(4)
    assert stepping.stepper.step_in_place(array, array) is False
    stepping.assert_untouched()


def test_a_multiple_of_the_period_is_no_group_step(stepping):
    array = model(4)
    for _ in range(PERIOD - 1):
        assert not stepping.stepper.synchronizes_next()
        assert stepping.stepper.step_in_place(array, array) is True
    assert stepping.stepper.synchronizes_next()
    assert stepping.stepper.step_in_place(array, array) is False
    assert stepping.step_done == PERIOD - 1


# Errors.


def test_a_step_that_cannot_be_completed_breaks_the_averager_and_tells_why(stepping):
    with pytest.raises(Broken):
        stepping.step(broken)
    assert stepping.lifecycle.state is State.BROKEN
    assert stepping.step_done == 0
    assert not stepping.busy.locked()
    with pytest.raises(NotReady):
        stepping.step(model(4))


def test_an_error_before_the_step_breaks_nothing():
    stepping = Stepping(expect=broken)
    with pytest.raises(Broken):
        stepping.step(model(4))
    stepping.assert_untouched()


@pytest.mark.parametrize(("error", "state"), [(Broken, State.READY), (StepMismatch, State.BROKEN)])
def test_an_interrupted_wait_breaks_an_averager_only_if_its_group_will_never_come(error, state):
    stepping = Stepping(quorum=2)
    stepping.rank.window.waiter.watcher = fail(error)
    output = strided(77)
    with pytest.raises(error):
        stepping.step(model(4), model(77), output)
    assert stepping.step_done == 1
    assert (output == 4).all(), "the step is over, so its output is delivered"
    assert stepping.lifecycle.state is state


def test_after_an_error_the_environment_is_as_it_was(stepping):
    with rounding_up():
        with pytest.raises(Broken):
            stepping.step(broken)
        assert quotient() != THIRD


# Lent slots.


def test_lent_slots_are_settled_after_every_step_whether_it_ends_well_or_not(stepping):
    stepping.step(model(4))
    assert stepping.settled == [], "nothing has been lent"
    stepping.buffers.used = True
    stepping.step(model(4))
    with pytest.raises(Broken):
        stepping.step(broken)
    assert stepping.settled == [2, 2]


def test_the_slots_of_a_step_in_another_thread_are_left_alone(stepping):
    stepping.buffers.used = True
    with stepping.busy, pytest.raises(SecondThread):
        stepping.step(model(4))
    assert stepping.settled == []


# Outputs.


def test_an_output_that_is_not_its_own_target_is_copied_from_it(stepping):
    output = strided(77)
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
    stepping.step(model(4))
    assert stepping.step_done == STEP_LIMIT - 1
    with pytest.raises(RuntimeError) as raised:
        stepping.step(model(4))
    assert str(raised.value) == (
        f"average: step {STEP_LIMIT - 1} is the last that a run can count; start a new run"
    )
    assert stepping.lifecycle.state is State.READY
    assert not stepping.busy.locked()


def test_a_step_that_can_be_counted_is_not_refused():
    check_countable("synchronize", STEP_LIMIT - 1)
    with pytest.raises(RuntimeError, match=r"^synchronize: step "):
        check_countable("synchronize", STEP_LIMIT)
