"""A sequence lock on the sums that ranks keep in their result slots."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.protocol.record cimport Record
from wagma_rma.windows.window cimport Window

@cython.final
cdef class Results:
    cdef Window window
    cdef Layout layout
    cdef bint tagged       # this rank's tag names the step
    cdef char* read_from   # per member: its sums have been read
    cdef uint64_t* tags    # room to load the members' tags

    cdef void begin_step(self) noexcept nogil
    cdef int begin_write(self, Record record) except -1 nogil
    cdef int end_write(self, int64_t place, int64_t nbytes) except -1 nogil
    cdef int64_t begin_read(self, Record record, int member) noexcept nogil
    cdef int end_read(self, Record record, bint* kept) except -1 nogil
