"""How a rank waits: it spins, then yields its core, then sleeps. What interrupts a wait."""

from libc.stdint cimport uintptr_t

cdef struct Wait:
    double since    # when this wait began, seconds on the waiter's clock
    double until    # no sleep goes on beyond this time, unless it has passed
    double checked  # when signals and the watcher were last asked
    double longest  # the longest sleep, seconds
    int pauses      # so far
    int rank        # the rank whose memory should answer, or -1

cdef class Waiter:
    cdef double lateness         # the part of a wait that a sleep may take
    cdef double longest_sleep    # seconds
    cdef double slept            # seconds that the last pause slept; its reader sets it back to 0
    cdef public object watcher   # called with (seconds waited, Wait.rank) now and then; may raise
    cdef bint interrupted        # a signal handler or the watcher has raised in a pause: the wait must end soon
    cdef object interruption     # what it raised
    cdef public uintptr_t raised # the id() of the last interruption that has been raised on, or 0

    cdef double now(self) noexcept nogil
    cdef Wait begin(self, double until) noexcept nogil
    cdef int pause(self, Wait* wait) except -1 nogil
    cdef int run_handlers(self, double waited, int rank) except -1 nogil
    cdef int raise_interruption(self) except -1
