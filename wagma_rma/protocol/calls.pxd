"""The word by which a quorum of arrivals calls the other ranks to a synchronisation."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.waiting.waiter cimport Waiter
from wagma_rma.windows.window cimport Window

@cython.final
cdef class Calls:
    cdef Window window
    cdef Waiter waiter
    cdef int leader     # the rank whose window holds the word of this host; -1: nobody is called
    cdef uint64_t sync_period, group_period
    cdef int64_t word, latest_word
    cdef uint64_t called         # as looked at last
    cdef uint64_t latest         # the last step that a group of this rank has done without it
    cdef double patience         # seconds to wait for a call that is due
    cdef double seconds_waited   # at this step

    cdef int begin_look(self) except -1 nogil
    cdef bint is_called(self, uint64_t step) noexcept nogil
    cdef bint is_due(self, uint64_t step) noexcept nogil
    cdef int wait(self, uint64_t step) except -1 nogil
