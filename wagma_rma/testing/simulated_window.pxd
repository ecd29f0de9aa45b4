"""Windows in one process whose every access is a turn of a scheduler."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.testing.scheduler cimport Scheduler
from wagma_rma.waiting.waiter cimport Wait, Waiter
from wagma_rma.windows.window cimport Window

cdef enum Kind:
    WORD = 0   # an operation on a word
    READ = 1   # a piece of a bulk read
    WRITE = 2  # a piece of a bulk write

cdef struct Pending:
    int kind
    int verb            # of a WORD
    int lane            # of a READ
    int rank            # whose memory
    int64_t offset
    int64_t nbytes      # of a piece
    uint64_t expected   # of a COMPARE_AND_SWAP
    uint64_t value
    uint64_t* found     # where the word's value goes
    char* into          # where a READ goes

cdef struct Event:
    int64_t turn
    int rank            # who did it
    int kind            # see SimulatedMemory.events()
    int target          # whose memory
    int64_t offset
    uint64_t before
    uint64_t after

cdef struct Hidden:
    bint active
    int rank            # whose memory
    int64_t word
    uint64_t before

cdef struct Range:
    int lane
    int rank
    int64_t offset
    int64_t nbytes

cdef class SimulatedMemory:
    cdef readonly Scheduler scheduler
    cdef readonly int ranks
    cdef readonly int64_t nbytes
    cdef readonly int64_t words
    cdef char** base          # per rank: what the others can see of its window
    cdef Hidden* hidden       # per rank: a change of a word that its later bulk writes may overtake
    cdef list windows         # made so far
    cdef Event* log
    cdef int64_t log_count, log_room

    cdef int note(self, int rank, int kind, int target, int64_t offset, uint64_t before,
                  uint64_t after) except -1 nogil

cdef class SimulatedWindow(Window):
    cdef readonly SimulatedMemory memory
    cdef Scheduler scheduler
    cdef char* private        # this rank's window as it sees it itself, its bulk writes in program order
    cdef Pending* pending     # in the order in which they began
    cdef int pending_count, pending_room
    cdef char* scratch        # where bulk reads go, per lane and source
    cdef int sources
    cdef int64_t source_bytes

    # What a missing read fence allows: loads as old as the last bulk read, and sources that change under a sum.
    cdef uint64_t* old_words  # all words as they were when that read began
    cdef bint may_be_old
    cdef Range* reading       # what each lane has read since its last complete_reads()
    cdef int reading_count, reading_room
    cdef Range* unfenced      # what the last complete_reads() completed
    cdef int unfenced_count, unfenced_room
    cdef Range* sums          # what has been written since
    cdef int sum_count, sum_room

    cdef int begin(self, int kind, int rank, int64_t offset, int64_t nbytes, uint64_t* found) except -1 nogil
    cdef int settle(self, int kind, int lane) except -1 nogil
    cdef int perform(self, Pending* item) except -1 nogil
    cdef int perform_word(self, Pending* item) except -1 nogil
    cdef bint waits_its_turn(self, int i) noexcept nogil
    cdef int show(self, int64_t offset, int64_t nbytes) except -1 nogil
    cdef void spoil(self, int rank, int64_t offset, int64_t nbytes) noexcept nogil

cdef class ScheduledWaiter(Waiter):
    cdef Scheduler scheduler
    cdef int rank
