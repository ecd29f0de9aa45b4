"""How a rank waits: it notices soon, costs next to no CPU, and a signal or the watcher ends it."""

import signal
import threading
import time
from itertools import pairwise

import pytest

from wagma_rma.testing import ThreadMemory, ThreadWindow
from wagma_rma.waiting.waiter import Waiter


def after(seconds):
    """Return a test that is true after some seconds."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until


def looks(seconds, **options):
    """Return when a wait of some seconds looked at what it waits for: seconds from its beginning."""
    began, found, done = time.monotonic(), [], after(seconds)

    def test():
        found.append(time.monotonic() - began)
        return done()

    Waiter().wait_for(test, **options)
    return found


def least_pause(found, since):
    """Return the shortest time between two looks after `since`; a busy machine can only make it longer."""
    return min(later - earlier for earlier, later in pairwise(found) if earlier >= since)


def test_what_is_true_already_is_not_waited_for():
    looked = []
    seconds = Waiter().wait_for(lambda: looked.append(1) is None)
    assert looked == [1]
    assert 0 <= seconds < 1


def test_a_wait_returns_the_seconds_it_took():
    waiter = Waiter()
    before = waiter.time()
    seconds = waiter.wait_for(after(0.02))
    assert 0.02 <= seconds <= waiter.time() - before


def test_at_first_a_wait_looks_again_at_once_and_later_seldom():
    found = looks(0.2)
    at_first = sorted(later - earlier for earlier, later in pairwise(found[:20]))
    assert at_first[10] < 1e-3
    # A sixteenth of what it has waited, about, and then 5 ms.
    assert least_pause(found, 0.05) >= 0.9 * 0.06 * 0.05
    assert least_pause(found, 0.1) >= 0.0049


def test_no_sleep_is_longer_than_asked_for():
    # What moves only while it is asked must not wait for 5 ms.
    assert least_pause(looks(0.15, longest=100e-6), 0.1) < 0.0049


def test_a_wait_takes_next_to_no_cpu():
    before = time.thread_time()
    Waiter().wait_for(after(0.5))
    assert time.thread_time() - before < 0.05


# Interruptions.


class Enough(Exception):
    pass


@pytest.fixture
def alarm():
    """Have SIGALRM raise Enough."""

    def ring(number, frame):
        raise Enough

    usual = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, usual)


def test_what_a_signal_handler_raises_ends_a_wait(alarm):
    waiter = Waiter()
    alarm(0.05)
    with pytest.raises(Enough):
        waiter.wait_for(after(60))
    # It came once.
    assert waiter.wait_for(after(0.02)) < 60


def test_what_the_watcher_raises_ends_a_wait():
    waiter = Waiter()
    told = []

    def watcher(seconds, rank):
        told.append((seconds, rank))
        if len(told) == 3:
            raise Enough

    waiter.watcher = watcher
    with pytest.raises(Enough):
        waiter.wait_for(after(60))
    seconds = [seconds for seconds, _ in told]
    assert seconds == sorted(seconds)
    assert all(later - earlier >= 0.05 for earlier, later in pairwise([0.0, *seconds]))
    assert {rank for _, rank in told} == {-1}, "it is for ranks to do something"


def test_a_short_wait_does_not_ask_the_watcher():
    waiter = Waiter()
    waiter.watcher = pytest.fail
    waiter.wait_for(after(0.001))


def test_what_the_test_itself_raises_ends_a_wait_at_once():
    waiter = Waiter()

    def test():
        raise Enough

    with pytest.raises(Enough):
        waiter.wait_for(test)


def test_other_threads_go_on_while_one_waits():
    came = threading.Event()
    thread = threading.Thread(target=lambda: (time.sleep(0.01), came.set()))
    thread.start()
    assert Waiter().wait_for(came.is_set) < 60
    thread.join()


def test_the_clock_is_the_windows_own():
    slow = ThreadWindow(ThreadMemory(1, 64), 0, pace=1e-3).waiter
    began, before = slow.time(), time.monotonic()
    slow.wait_for(after(0.05))
    assert slow.time() - began <= 1.1e-3 * (time.monotonic() - before)
