"""A window on memory that this process has mapped."""

from libc.stdint cimport int64_t
from wagma_rma.windows.window cimport Window

cdef bytes looked_at(char* place, int nbytes)

cdef class MappedWindow(Window):
    cdef char** base  # per rank: the address of its window in this process

    cdef int set_ranks(self, int rank, int ranks, int64_t nbytes) except -1
