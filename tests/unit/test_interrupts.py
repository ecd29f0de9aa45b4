"""Ctrl-C comes through at the moments that the code chooses, and is never lost."""

import signal
import threading

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
