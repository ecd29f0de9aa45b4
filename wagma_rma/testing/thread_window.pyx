"""A window whose ranks are threads of one process.

The protocol runs on real cores with real atomics, but in one address space, where ThreadSanitizer sees both sides of
every access.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from wagma_rma.kernels.clock cimport wagma_now
from wagma_rma.kernels.memory cimport LINE
from wagma_rma.waiting.waiter cimport Waiter
from wagma_rma.windows.mapped cimport MappedWindow


cdef class ThreadMemory:
    """Zeroed memory for the windows of `ranks` threads, `nbytes` each. It lives as long as any window on it."""

    def __cinit__(self, int ranks, int64_t nbytes):
        cdef int r
        self.ranks = ranks
        self.nbytes = nbytes
        self.allocated = <void**> calloc(ranks, sizeof(void*))
        if self.allocated is NULL:
            raise MemoryError("ThreadMemory: no memory for the table of ranks")
        for r in range(ranks):
            self.allocated[r] = calloc(1, nbytes + LINE)
            if self.allocated[r] is NULL:
                raise MemoryError(f"ThreadMemory: no memory for {nbytes} bytes of rank {r}")

    def __dealloc__(self):
        cdef int r
        if self.allocated is not NULL:
            for r in range(self.ranks):
                free(self.allocated[r])
        free(self.allocated)


cdef class ThreadWindow(MappedWindow):
    """The window of one rank, for use in one thread at a time.

    Args:
        memory: of all ranks.
        rank: this one, 0 to memory.ranks - 1.
        pace: seconds that its clock counts in a second. With a slow clock what happens after some time, such as the
            take-over of a chunk whose owner seems stopped, happens late or never.

    Local.
    """

    def __init__(self, ThreadMemory memory, int rank, double pace=1.0):
        cdef int r
        self.memory = memory
        self.waiter = PacedWaiter(pace)
        self.set_ranks(rank, memory.ranks, memory.nbytes)
        for r in range(memory.ranks):
            self.base[r] = <char*> ((<uintptr_t> memory.allocated[r] + LINE - 1) // LINE * LINE)


cdef class PacedWaiter(Waiter):
    """A waiter whose clock counts `pace` seconds in a second."""

    def __init__(self, double pace):
        self.pace = pace

    cdef double now(self) noexcept nogil:
        return self.pace * wagma_now()
