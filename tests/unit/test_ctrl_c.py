"""Ctrl-C in a wait on a thread that is not the main one, while the main thread is in C or in Python."""

import ctypes
import os
import signal
import sys
import threading
import time

import pytest

from tests.support.signals import PATIENT, until
from wagma_rma.waiting.ctrl_c import heard
from wagma_rma.waiting.waiter import Waiter

libc = ctypes.CDLL(None)
python = ctypes.pythonapi
python.PyOS_getsig.restype = python.PyOS_setsig.restype = ctypes.c_void_p
python.PyOS_setsig.argtypes = [ctypes.c_int, ctypes.c_void_p]
LOOKS = 10  # of a wait, some 50 ms apart: enough for it to raise what it will raise


class Wait(threading.Thread):
    """A thread that waits in a block, as a step does; `ended` is what ended it, None if it ended well."""

    def __init__(self):
        super().__init__(daemon=True)
        self.looks, self.goes_on, self.ended = 0, True, "nothing"
        self.start()
        until(lambda: self.looks)

    def run(self):
        waiter = Waiter()
        waiter.watcher = self.look
        try:
            with heard():
                waiter.wait_for(lambda: not self.goes_on)
            self.ended = None
        except BaseException as error:
            self.ended = type(error)

    def look(self, seconds, rank):
        self.looks += 1

    def looks_on(self):
        """Let it look several times more, and then end well."""
        enough = self.looks + LOOKS
        until(lambda: self.looks >= enough or not self.is_alive())
        self.goes_on = False
        self.join(PATIENT)


def interrupt_and_stay_in_c(condition):
    """Send this process SIGINT, and let no handler of Python's run before a condition holds."""
    lock = ctypes.create_string_buffer(64)  # zeros: a mutex, whose wait no signal ends
    libc.pthread_mutex_lock(lock)
    main, here = threading.get_ident(), sys._getframe()

    def meanwhile():
        try:
            # Not one of the frames of Thread.start(): so it is at the call below.
            until(lambda: sys._current_frames()[main] is here)
            time.sleep(0.1)  # and in C by now
            os.kill(os.getpid(), signal.SIGINT)
            until(condition)
        finally:
            libc.pthread_mutex_unlock(lock)

    thread = threading.Thread(target=meanwhile, daemon=True)
    thread.start()
    libc.pthread_mutex_lock(lock)


def placed():
    """Return the function that the system calls at SIGINT."""
    return python.PyOS_getsig(signal.SIGINT)


@pytest.fixture(autouse=True)
def usual():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    function = placed()
    yield function
    assert placed() == function
    signal.signal(signal.SIGINT, before)


def test_it_ends_every_wait_while_the_main_thread_is_in_c_and_then_that_thread_gets_its_own(usual):
    waits = [Wait(), Wait()]
    assert placed() != usual
    with pytest.raises(KeyboardInterrupt):
        interrupt_and_stay_in_c(lambda: not any(wait.is_alive() for wait in waits))
    assert [wait.ended for wait in waits] == [KeyboardInterrupt] * 2


def test_a_main_thread_in_python_acts_by_itself_and_no_wait_ends():
    wait = Wait()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(PATIENT)
    wait.looks_on()
    assert wait.ended is None


def test_an_interrupt_before_the_step_is_none_of_its_own():
    first = Wait()
    with pytest.raises(KeyboardInterrupt):
        interrupt_and_stay_in_c(lambda: not first.is_alive())
    wait = Wait()
    wait.looks_on()
    assert (first.ended, wait.ended) == (KeyboardInterrupt, None)


def test_a_handler_of_the_users_own_decides():
    called = []
    signal.signal(signal.SIGINT, lambda *_: called.append("the user's"))
    wait = Wait()
    enough = wait.looks + LOOKS
    interrupt_and_stay_in_c(lambda: wait.looks >= enough or not wait.is_alive())
    wait.looks_on()
    assert (wait.ended, called) == (None, ["the user's"])


def test_a_wait_still_hears_when_a_handler_of_pythons_has_been_set_meanwhile(usual):
    wait = Wait()
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert placed() == usual
    until(lambda: placed() != usual)
    with pytest.raises(KeyboardInterrupt):
        interrupt_and_stay_in_c(lambda: not wait.is_alive())
    assert wait.ended is KeyboardInterrupt


def test_what_is_put_in_front_stays_there_for_it_may_call_what_was_there(usual):
    wait = Wait()
    ours = placed()
    front = ctypes.cast(libc.abs, ctypes.c_void_p).value  # takes a number, as a handler does
    python.PyOS_setsig(signal.SIGINT, front)
    wait.looks_on()
    assert placed() == front
    later = Wait()
    later.looks_on()
    assert (wait.ended, later.ended, placed()) == (None, None, front)
    python.PyOS_setsig(signal.SIGINT, usual)
    later = Wait()
    assert placed() == ours
    later.looks_on()


@pytest.mark.parametrize("disposition", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_that_calls_nothing_is_left_alone(disposition):
    before = signal.signal(signal.SIGINT, disposition)
    now = placed()
    wait = Wait()
    wait.looks_on()
    assert (wait.ended, placed()) == (None, now)
    signal.signal(signal.SIGINT, before)


def test_on_the_main_thread_a_block_changes_nothing(usual):
    with heard():
        assert placed() == usual
