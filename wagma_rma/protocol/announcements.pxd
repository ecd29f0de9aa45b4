"""What ranks say of themselves in their words, for ranks that meet them."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.windows.window cimport Window

cdef class Announcements:
    cdef Window window
    cdef Layout layout

    cdef int raise_own(self, int64_t at, uint64_t word) except -1
    cdef list loaded(self, ranks, int64_t word)
