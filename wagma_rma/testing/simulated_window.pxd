"""Windows in one process whose every access is a turn of a scheduler."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.testing.scheduler cimport Scheduler
from wagma_rma.testing.simulated_memory cimport SimulatedMemory
from wagma_rma.testing.unfenced_reads cimport UnfencedReads
from wagma_rma.waiting.waiter cimport Wait, Waiter
from wagma_rma.windows.window cimport Window

cdef enum Transfer:
    WORD = 0   # an operation on a word
    READ = 1   # a piece of a bulk read
    WRITE = 2  # a piece of a bulk write

cdef struct Pending:
    int transfer
    int verb            # of a WORD
    int lane            # of a READ
    int rank            # whose memory
    int64_t offset
    int64_t nbytes
    uint64_t expected   # of a COMPARE_AND_SWAP
    uint64_t value
    uint64_t* found     # where the word's value goes
    char* into          # where the bytes of a READ go

cdef class SimulatedWindow(Window):
    cdef readonly SimulatedMemory memory
    cdef Scheduler scheduler
    cdef UnfencedReads unfenced
    cdef char* private        # this rank's window as the rank sees it itself: its bulk writes in program order
    cdef Pending* pending     # in the order in which they began
    cdef int pending_count, pending_room
    cdef int64_t trips        # round trips so far, if any may be ended by an exception
    cdef char* scratch        # where bulk reads go, per lane and source
    cdef int sources
    cdef int64_t source_bytes

    cdef Pending* begin(self, int transfer, int rank, int64_t offset, int64_t nbytes) except NULL nogil
    cdef Pending* begin_word(self, int verb, int rank, int64_t word, uint64_t* found) except NULL nogil
    cdef int settle(self, int transfer, int lane) except -1 nogil
    cdef int silence(self) except -1
    cdef int perform(self, Pending* item) except -1 nogil
    cdef int perform_write(self, Pending* item) except -1 nogil
    cdef int perform_word(self, Pending* item) except -1 nogil
    cdef bint must_wait(self, int i) noexcept nogil

cdef class ScheduledWaiter(Waiter):
    cdef Scheduler scheduler
    cdef int rank
