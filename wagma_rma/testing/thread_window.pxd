"""Memory of one process as a window: its ranks are threads."""

from libc.stdint cimport int64_t
from wagma_rma.waiting.waiter cimport Waiter
from wagma_rma.windows.mapped cimport MappedWindow

cdef class ThreadMemory:
    cdef readonly int ranks
    cdef readonly int64_t nbytes  # of each rank's window
    cdef void** allocated         # a piece per rank, so that a sanitizer sees who leaves his own

cdef class ThreadWindow(MappedWindow):
    cdef ThreadMemory memory

cdef class PacedWaiter(Waiter):
    cdef double pace              # of the clock
