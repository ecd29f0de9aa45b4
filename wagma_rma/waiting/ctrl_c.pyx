"""Ctrl-C in a wait on a thread that is not the main one.

Python runs handlers of signals on its main thread alone, and only between two of its instructions. A program that XLA
runs may wait for other ranks on another thread, while the main thread waits in C for the end of the program: without
help Ctrl-C ends neither wait. So while such a thread performs a step, a handler in C counts interrupts, and the wait
looks at the count. It then finds out whether the main thread can act by itself, by a call that Python makes on that
thread as soon as it is back from C. If it can't, the wait raises KeyboardInterrupt. That ends the step and the
program, and the main thread, back from C, runs Python's own handler.

A user's own handler of SIGINT means that Ctrl-C shall do something else; waits do not end then.
"""

import signal
from threading import get_ident, main_thread

from wagma_rma.kernels.clock cimport wagma_now

cdef extern from "Python.h":
    int Py_AddPendingCall(int (*function)(void*) noexcept, void* argument)

cdef extern from "wagma_rma/waiting/ctrl_c.h" nogil:
    void wagma_note_interrupts()
    void wagma_leave_interrupts()
    long wagma_interrupts()

cdef double PATIENCE = 0.1  # seconds in which a main thread that runs Python will have run its handlers

cdef dict hearing = {}       # by thread: the interrupts that had come when its step began
cdef long called_for = 0     # the interrupts for which the main thread has been called
cdef double called_at = 0.0  # when
cdef long answered_for = 0   # the interrupts for which it has been back in Python


class heard:
    """A block around a step, in which this thread's waits end at Ctrl-C; on the main thread they do so anyway."""

    def __enter__(self):
        thread = get_ident()
        if thread != main_thread().ident:
            wagma_note_interrupts()
            hearing[thread] = wagma_interrupts()

    def __exit__(self, *error):
        if hearing.pop(get_ident(), None) is not None and not hearing:
            wagma_leave_interrupts()


cdef int check_interrupt() except -1:
    """Raise KeyboardInterrupt if Ctrl-C has come in this thread's block, and the main thread can't act."""
    global called_for, called_at
    if not hearing:
        return 0
    before = hearing.get(get_ident())
    if before is None:
        return 0
    wagma_note_interrupts()  # again, as signal.signal() may have displaced the handler
    cdef long come = wagma_interrupts()
    if come == before or come == answered_for or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return 0
    if called_for != come:
        if Py_AddPendingCall(answer, <void*> come) == 0:
            called_for = come
            called_at = wagma_now()
    elif wagma_now() - called_at > PATIENCE:
        raise KeyboardInterrupt
    return 0


cdef int answer(void* interrupts) noexcept:
    """Note, on the main thread, that it is back in Python."""
    global answered_for
    answered_for = <long> interrupts
    return 0
