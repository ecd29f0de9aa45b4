"""The exchange of an open record: its members share the work of summing, and collect the sums."""

cimport cython

from libc.stdint cimport uint64_t
from wagma_rma.model.leaf_pointers cimport LeafPointers
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.protocol.record cimport Record
from wagma_rma.protocol.sums cimport Sums
from wagma_rma.waiting.waiter cimport Wait, Waiter
from wagma_rma.windows.window cimport MOST_LANES, Window

cpdef double shared_by(int members, double chunks, double sum_seconds, double collect_seconds) noexcept nogil


@cython.final
cdef class Exchange:
    cdef Window window
    cdef Waiter waiter
    cdef Layout layout
    cdef Record record
    cdef readonly Sums sums
    cdef double sum_seconds, collect_seconds  # per chunk, running estimates

    # Results of the exchange under way, or of the last one.
    cdef int chunks_computed   # chunks that this rank owns
    cdef double seconds_waited # for other members' chunks

    # The chunks, by their words.
    cdef uint64_t* words       # as last seen
    cdef char* in_output       # per chunk: its average is in the output, or on its way there through a lane
    cdef int left              # chunks whose averages are not in the output
    cdef int next_claim        # chunks looked at for a claim so far, in this rank's order
    cdef int next_look         # chunk whose word is loaded next

    # The lanes, a ring: the chunk in each is summed, or collected if in_output says so.
    cdef int[MOST_LANES] lane_chunk
    cdef int first_lane, busy_lanes
    cdef int summing           # lanes that read sources to be summed

    # The words in flight in a round.
    cdef int[MOST_LANES] claimed            # chunks that this rank tries to claim
    cdef uint64_t[MOST_LANES] claim_expected, claim_found
    cdef int claims
    cdef int summed            # a chunk that is summed and to be marked DONE, or -1
    cdef uint64_t done_expected, done_found
    cdef bint uncounted        # a chunk of this rank is DONE and not counted in `finished`
    cdef bint counting         # its addition is in flight
    cdef uint64_t finished_found

    # Time.
    cdef Wait idle             # since the last chunk was dealt with
    cdef double chunk_began

    cdef double usual(self) noexcept nogil
    cdef int perform(self, bint shares, LeafPointers pointers) except -1 nogil
    cdef int begin(self, bint shares) except -1 nogil
    cdef int begin_claims(self) except -1 nogil
    cdef int end_claims(self, LeafPointers pointers) except -1 nogil
    cdef int begin_collecting(self) except -1 nogil
    cdef int begin_mark(self) except -1 nogil
    cdef int end_mark(self) except -1 nogil
    cdef int begin_count(self) except -1 nogil
    cdef int end_count(self) except -1 nogil
    cdef int begin_looks(self) except -1 nogil
    cdef int complete_lane(self, LeafPointers pointers) except -1 nogil
    cdef int wait_or_take_over(self, LeafPointers pointers) except -1 nogil
    cdef int own_part(self, int member) noexcept nogil
    cdef int next_to_claim(self) noexcept nogil
    cdef int next_to_collect(self) noexcept nogil
    cdef bint is_done(self, int c) noexcept nogil
    cdef int occupy_lane(self, int c) noexcept nogil
