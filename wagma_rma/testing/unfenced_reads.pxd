"""What a missing read fence allows, for the bulk reads of one simulated rank."""

from libc.stdint cimport int64_t, uint64_t

cdef struct Range:
    int lane
    int rank
    int64_t offset
    int64_t nbytes

cdef class Ranges:
    cdef Range* entries
    cdef int count, room

    cdef int add(self, Range entry) except -1 nogil

cdef class UnfencedReads:
    cdef int rank, ranks
    cdef int64_t words_bytes
    cdef char** base          # of the memory
    cdef char* private        # of the rank's window

    cdef uint64_t* old_words  # all words as they were when the first read since the last fence began
    cdef bint may_be_old      # a load may find these
    cdef Ranges in_flight     # what each lane reads
    cdef Ranges unfenced      # what the last completed lane has read, until the fence
    cdef Ranges sums          # what the rank has written since

    cdef int begin(self, int lane, int rank, int64_t offset, int64_t nbytes) except -1 nogil
    cdef int complete(self, int lane) except -1 nogil
    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil
    cdef uint64_t old(self, int target, int64_t word) noexcept nogil
    cdef void spoil(self, int rank, int64_t offset, int64_t nbytes) noexcept nogil
    cdef void fence(self) noexcept nogil

cdef bint overlap(int64_t offset, int64_t nbytes, int64_t other, int64_t other_nbytes) noexcept nogil
