"""The time that a rank needs for itself between two steps."""

cimport cython

cdef enum:
    SAMPLES = 3

@cython.final
cdef class Pace:
    cdef double ended               # when the last step ended, seconds on the waiter's clock; -1: not known
    cdef double[SAMPLES] between    # the last times between two steps, seconds; 0 where there is none yet
    cdef int oldest                 # which of them is replaced next

    cdef void begin_step(self, double now) noexcept nogil
    cdef void end_step(self, double now) noexcept nogil
    cdef double usual(self) noexcept nogil
