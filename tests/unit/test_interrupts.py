"""Signals come through at the moments that the code chooses, and are never lost."""

import signal
import threading
from contextlib import ExitStack

import pytest

from wagma_rma.waiting.interrupts import Interrupts


@pytest.fixture(autouse=True)
def usual():
    """Have SIGINT raise KeyboardInterrupt in each test, whatever it was before; see that it is put back."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    left = signal.signal(signal.SIGINT, before)
    assert left is signal.default_int_handler


@pytest.fixture
def handler():
    """Install a handler of a user's own; return what it was called with."""
    called = []
    before = signal.signal(signal.SIGINT, lambda number, frame: called.append((number, frame)))
    yield called
    signal.signal(signal.SIGINT, before)


def control_c():
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt_waits_for_the_end_of_the_block():
    went_on = False
    with pytest.raises(KeyboardInterrupt), Interrupts().deferred():
        control_c()
        went_on = True
    assert went_on


def test_an_interrupt_comes_through_where_it_is_delivered():
    interrupts = Interrupts()
    with interrupts.deferred():
        interrupts.deliver()  # nothing has come
        control_c()
        with pytest.raises(KeyboardInterrupt):
            interrupts.deliver()
        interrupts.deliver()  # it comes once


def test_a_block_without_an_interrupt_is_left_as_any_other():
    with Interrupts().deferred():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler


def test_after_the_block_interrupts_come_at_once():
    with Interrupts().deferred():
        pass
    with pytest.raises(KeyboardInterrupt):
        control_c()


def test_several_interrupts_in_a_block_come_through_as_one(handler):
    with Interrupts().deferred():
        control_c()
        control_c()
        assert handler == []
    assert len(handler) == 1


def test_a_users_own_handler_is_called_as_python_calls_it_and_put_back(handler):
    own = signal.getsignal(signal.SIGINT)
    with Interrupts().deferred():
        control_c()
        assert handler == []
    ((number, frame),) = handler
    assert number == signal.SIGINT
    assert frame is not None
    assert signal.getsignal(signal.SIGINT) is own


def test_an_error_in_the_block_is_the_context_of_an_interrupt_that_came():
    with pytest.raises(KeyboardInterrupt) as raised, Interrupts().deferred():
        control_c()
        raise ValueError("an error of the block")
    assert isinstance(raised.value.__context__, ValueError)


def test_an_error_in_the_block_is_raised_and_the_handler_put_back():
    with pytest.raises(ValueError), Interrupts().deferred():
        raise ValueError


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_interrupts_that_python_does_not_handle_are_left_alone(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with Interrupts().deferred():
            assert signal.getsignal(signal.SIGINT) is handler
            if handler is signal.SIG_IGN:
                control_c()
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_than_the_main_one_changes_nothing():
    seen = []

    def work():
        with Interrupts().deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


@pytest.mark.parametrize("same", [True, False])
def test_an_interrupt_in_a_block_within_a_block_waits_for_the_end_of_both(same):
    outer = Interrupts()
    inner = outer if same else Interrupts()
    left_inner = False
    with pytest.raises(KeyboardInterrupt), outer.deferred():
        with inner.deferred():
            control_c()
        left_inner = True
    assert left_inner


@pytest.mark.parametrize("same", [True, False])
def test_an_interrupt_behind_a_block_within_a_block_waits_for_the_end_of_the_outer_one(same):
    outer = Interrupts()
    inner = outer if same else Interrupts()
    with pytest.raises(KeyboardInterrupt), outer.deferred():
        with inner.deferred():
            pass
        control_c()


# Other signals, and handlers that raise what they like.

OTHERS = [signal.SIGUSR1, signal.SIGALRM, signal.SIGTERM]


class Notice(BaseException):
    """What a handler of a user's own raises."""


@pytest.fixture
def raising():
    """Have each of OTHERS raise a Notice with its number; see that the handlers are put back."""

    def handler(number, frame):
        raise Notice(number)

    before = {number: signal.signal(number, handler) for number in OTHERS}
    yield handler
    left = {number: signal.signal(number, old) for number, old in before.items()}
    assert set(left.values()) == {handler}


@pytest.mark.parametrize("number", OTHERS)
def test_any_signal_waits_for_the_end_of_the_block(raising, number):
    went_on = False
    with pytest.raises(Notice, match=str(int(number))), Interrupts().deferred():
        signal.raise_signal(number)
        went_on = True
    assert went_on


def test_of_several_signals_the_first_raises_and_all_handlers_run(raising):
    interrupts = Interrupts()
    called = []
    with pytest.raises(Notice, match=str(int(signal.SIGALRM))), interrupts.deferred():
        signal.raise_signal(signal.SIGALRM)
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt), ExitStack() as stack:
            # The two have been delivered before a third comes.
            stack.callback(interrupts.deliver)
            signal.raise_signal(signal.SIGINT)
            for _ in range(2):
                try:
                    interrupts.deliver()
                except Notice as error:
                    called.append(error.args[0])
        raise Notice(signal.SIGALRM)
    assert called == [signal.SIGALRM, signal.SIGUSR1]


def test_signals_that_come_together_at_the_end_are_each_delivered(raising):
    called = []
    signal.signal(signal.SIGUSR1, lambda number, frame: called.append(number))
    try:
        with pytest.raises(Notice), Interrupts().deferred():
            signal.raise_signal(signal.SIGALRM)
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, raising)
    assert called == [signal.SIGUSR1]


def test_a_handler_that_installs_another_one_keeps_it():
    def second(number, frame):
        pass

    before = signal.signal(signal.SIGUSR1, lambda number, frame: signal.signal(signal.SIGUSR1, second))
    try:
        with Interrupts().deferred():
            signal.raise_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is second
    finally:
        signal.signal(signal.SIGUSR1, before)
