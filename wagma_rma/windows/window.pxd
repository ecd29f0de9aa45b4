"""The verbs that the protocol needs of any memory that ranks share."""

from libc.stdint cimport int64_t, uint64_t

from wagma_rma.waiting.waiter cimport Waiter

cpdef enum:
    MOST_LANES = 8  # that the protocol can use

cdef class Window:
    cdef readonly int rank        # this rank
    cdef readonly int ranks       # how many ranks have a window
    cdef readonly int lanes       # how many sets of bulk reads may be in flight at a time, 1 to MOST_LANES
    cdef readonly int64_t nbytes  # size of each rank's window
    cdef double least_take_over   # seconds of silence after which the protocol may treat a rank as stopped
    cdef readonly Waiter waiter   # this rank's clock, and how it waits

    # Words: 64 bits, at a byte offset divisible by 8, touched by these verbs only. Each verb begins an
    # operation; its result is in *value or *found after complete().
    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil
    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil
    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil
    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil
    cdef int complete(self) except -1 nogil

    # Bulk memory: written by its owner alone, through own(), and announced by wrote().
    cdef char* own(self, int64_t offset) noexcept nogil
    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil
    cdef int read(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                  const void** bytes) except -1 nogil
    cdef int complete_reads(self, int lane) except -1 nogil
    cdef int prepare_reads(self, int sources, int64_t nbytes) except -1
    cdef bint is_near(self, int rank) noexcept nogil

    # Fences, between words and bulk memory.
    cdef int write_fence(self) except -1 nogil
    cdef int read_fence(self) except -1 nogil
