"""How a rank waits: spin, then yield, then sleep; and who may interrupt it."""

cdef struct Wait:
    double since   # when this wait began, seconds on the waiter's clock
    double until   # sleep at most to this time, if it has not passed yet
    double looked  # when signals and the watcher were last asked
    double longest # sleep, seconds
    int turns      # pauses so far
    int rank       # the rank whose memory should answer, or -1

cdef class Waiter:
    cdef double lateness         # part of a wait that may pass between two looks at what is awaited
    cdef double longest_sleep    # between two looks, seconds
    cdef double slept            # seconds that the last pause slept
    cdef public object watcher   # called with (seconds waited, Wait.rank) now and then; may raise
    cdef bint interrupted        # a signal or the watcher raised in pause(): the wait must end soon
    cdef object interruption     # what it raised

    cdef double now(self) noexcept nogil
    cdef Wait begin(self, double until) noexcept nogil
    cdef int pause(self, Wait* wait) except -1 nogil
    cdef int look(self, double waited, int rank) except -1 nogil
    cdef int raise_interruption(self) except -1
