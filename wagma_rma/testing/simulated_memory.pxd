"""The memory behind simulated windows: what other ranks can see of it, and a log of all that happens to it."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.testing.scheduler cimport Scheduler

cdef enum:
    CHANGED = 0  # a word, from `before` to `after`
    WROTE = 1    # a bulk write of `after` bytes has begun
    SHOWN = 2    # a piece of it, of `after` bytes, has become visible

cdef struct Event:
    int64_t turn
    int rank            # that acted
    int kind            # CHANGED, WROTE or SHOWN
    int target          # the rank whose memory it acted on
    int64_t offset
    uint64_t before
    uint64_t after

cdef struct Delayed:
    bint active
    int target          # the rank whose word it is
    int64_t word
    uint64_t before     # what other ranks may still find there

cdef class SimulatedMemory:
    cdef readonly Scheduler scheduler
    cdef readonly int ranks
    cdef readonly int64_t nbytes
    cdef readonly int64_t words_bytes
    cdef char** base          # per rank: what other ranks can see of its window
    cdef list unfenced        # per rank: its UnfencedReads, or None
    cdef Delayed* delayed     # per rank: its last change of a word, which its later bulk writes may overtake
    cdef Event* log
    cdef int64_t log_count, log_room

    cdef uint64_t visible(self, int target, int64_t word, uint64_t value) except? 0 nogil
    cdef int change(self, int rank, int target, int64_t word, uint64_t before, uint64_t after) except -1 nogil
    cdef void show_change(self, int rank) noexcept nogil
    cdef int show(self, int rank, int64_t offset, const char* data, int64_t nbytes) except -1 nogil
    cdef int note(self, int rank, int kind, int target, int64_t offset, uint64_t before,
                  uint64_t after) except -1 nogil
