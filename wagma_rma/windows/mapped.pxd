"""Memory of all ranks that this process has mapped."""

from libc.stdint cimport int64_t
from wagma_rma.windows.window cimport Window

cdef class MappedWindow(Window):
    cdef char** base  # each rank's window in this process's addresses

    cdef int share(self, int rank, int ranks, int64_t nbytes) except -1
