"""The word by which a quorum of arrivals calls the other ranks to a synchronisation."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.windows.window cimport Window

@cython.final
cdef class Calls:
    cdef Window window
    cdef int leader     # the rank whose window holds the word of this host; -1: nobody is called
    cdef int64_t word
    cdef uint64_t called

    cdef int begin_look(self) except -1 nogil
    cdef bint is_called(self, uint64_t step) noexcept nogil
