"""Signals at chosen moments.

While a call defers signals, the Python handler of each is replaced by one that notes the signal; deliver() and the end
of the call run the handlers of the signals that have come. An exception of a handler is raised there: KeyboardInterrupt
at Ctrl-C, or one of a user's own. This module is compiled because Python runs handlers between any two
instructions of its own, and so also between two of a function that replaces them.
"""

import signal
import threading
from _signal import getsignal, signal as set_handler  # those of `signal` take ten times longer, for members of enums

NUMBERS = sorted(map(int, signal.valid_signals()))


cdef class Interrupts:
    """Defers signals while code runs that must not be cut in two."""

    cdef dict handlers  # what was replaced, by number
    cdef dict pending   # the frame in which each signal came that has not been delivered, by number
    cdef object note
    cdef int depth      # of blocks within blocks

    def __init__(self):
        self.handlers = {}
        self.pending = {}
        self.note = Note(self)

    def deferred(self):
        """Return a context manager that defers signals if the main thread enters it: Python interrupts no other thread.

        At its end it runs the handlers of signals that have come, and raises the first exception of theirs. In a
        block of another averager, within which a handler may have called this one, signals stay deferred.
        """
        return Deferral(self)

    def deliver(self):
        """Run the handlers of signals that have come; one that raises leaves the others for the next time."""
        while self.pending:
            number = next(iter(self.pending))
            frame = self.pending.pop(number)
            handler = self.handlers.get(number)
            if handler is None:
                handler = getsignal(number)
            if callable(handler):
                handler(number, frame)

    cdef int replace(self) except -1:
        """Replace all handlers that are Python's."""
        for number in NUMBERS:
            handler = getsignal(number)
            if callable(handler) and not isinstance(handler, Note):
                self.handlers[number] = handler
                # Runs the handlers of what has come before: this may raise.
                set_handler(number, self.note)
        return 0

    cdef object put_back(self):
        """Put all handlers back, and return the first exception of what came meanwhile, or None."""
        first = None
        while self.handlers:
            number = next(iter(self.handlers))
            try:
                if getsignal(number) is self.note:  # and not replaced by a handler
                    set_handler(number, self.handlers[number])
                del self.handlers[number]
            except BaseException as error:  # of a handler that has been put back already
                first = first or error
        while self.pending:
            try:
                self.deliver()
            except BaseException as error:
                first = first or error
        return first


cdef class Note:
    """A handler that notes a signal."""

    cdef Interrupts interrupts

    def __init__(self, Interrupts interrupts):
        self.interrupts = interrupts

    def __call__(self, number, frame):
        self.interrupts.pending[number] = frame


cdef class Deferral:
    """One block that defers signals."""

    cdef Interrupts interrupts
    cdef bint main

    def __init__(self, Interrupts interrupts):
        self.interrupts = interrupts

    def __enter__(self):
        self.main = threading.current_thread() is threading.main_thread()
        if not self.main:
            return
        self.interrupts.depth += 1
        try:
            self.interrupts.replace()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(self, *_):
        if not self.main:
            return
        self.interrupts.depth -= 1
        if self.interrupts.depth == 0:
            error = self.interrupts.put_back()
            if error is not None:
                raise error
