"""A window whose ranks are threads of one process."""

from libc.stdint cimport int64_t
from wagma_rma.waiting.waiter cimport Waiter
from wagma_rma.windows.mapped cimport MappedWindow

cdef class ThreadMemory:
    cdef readonly int ranks
    cdef readonly int64_t nbytes  # of each rank's window
    cdef void** allocated         # per rank: separate pieces, so that a sanitizer sees an access beyond the end of one

cdef class ThreadWindow(MappedWindow):
    cdef ThreadMemory memory

cdef class PacedWaiter(Waiter):
    cdef double pace              # of the clock
