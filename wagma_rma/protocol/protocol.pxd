"""The cooperative, wait-avoiding group average over one-sided memory."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.model.leaf_pointers cimport LeafPointers
from wagma_rma.protocol.snapshots cimport Snapshots
from wagma_rma.windows.window cimport Window

cdef struct Group:
    int size
    int me        # which member this rank is
    int* ranks    # of the members, ascending

cdef struct Outcome:
    uint64_t step
    uint64_t source_step
    int kind              # FRESH, LATE, MISSED
    bint initiated
    bint published
    int computed          # chunks whose sums are this rank's
    int64_t bytes_read    # of other ranks' bulk memory
    int64_t bytes_over_network  # those of them that were of other hosts
    double seconds_waited
    double seconds

cdef struct Totals:
    int64_t[3] kinds      # steps of each kind
    int64_t initiated
    int64_t unpublished
    int64_t computed
    int64_t bytes_read, bytes_over_network
    double seconds_waited
    double seconds

cdef class Protocol:
    cdef readonly Window window
    cdef readonly Layout layout
    cdef readonly Snapshots snapshots
    cdef Group* groups        # this rank's group at step 1, 2, ... period
    cdef int* group_ranks     # the memory behind them
    cdef int period
    cdef int quorum
    cdef double patience      # seconds, or negative for the running estimate
    cdef double sum_seconds, collect_seconds  # per chunk, running estimates

    # The step under way, or the last one.
    cdef Outcome outcome
    cdef Group* group         # at the source step
    cdef int home             # rank that has the record of the source step
    cdef uint64_t state       # of the record, as last seen
    cdef bint was_open        # at the very first look
    cdef bint gathered        # the caller's model has been copied, its output may be written
    cdef bint tagged          # result_tag names this step
    cdef bint mixes           # the LATE formula applies
    cdef uint64_t* contributions  # of the source step
    cdef uint64_t* found      # room for a word per member, and for another
    cdef uint64_t* swapped
    cdef uint64_t* chunks     # the chunk words as last seen
    cdef char* collected      # per chunk
    cdef uint64_t done_found, finished_found  # by a swap to DONE, and a count, that are under way
    cdef char* owner          # per member: its sums have been collected
    cdef const void** sources # of the chunks being summed, per lane and member

    cdef Totals totals        # over all group steps
    # Counted here, where no signal can come between a step and its number.
    cdef readonly uint64_t last_step, last_synchronized

    cdef void count(self) noexcept
    cdef list loaded(self, ranks, int64_t word)
    cdef double now_patience(self) noexcept nogil
    cdef int group_step(self, uint64_t step, LeafPointers pointers) except -1 nogil
    cdef int aim(self, uint64_t step) except -1 nogil
    cdef int miss(self, LeafPointers pointers) except -1 nogil
    cdef int arrive(self) except -1 nogil
    cdef int wait_until_open(self, double patience) except -1 nogil
    cdef int swap_state(self, int phase, int arrived, bint* swapped) except -1 nogil
    cdef int activate(self) except -1 nogil
    cdef int choose_source(self) except -1 nogil
    cdef int load_contributions(self, bint opened) except -1 nogil
    cdef int exchange(self, LeafPointers pointers) except -1 nogil
    cdef int own_share(self, int member) noexcept nogil
    cdef int next_to_claim(self, int* cursor, int summing) noexcept nogil
    cdef bint is_done(self, int c) noexcept nogil
    cdef int next_to_collect(self) noexcept nogil
    cdef int look_at_chunks(self, int* looked, int most) except -1 nogil
    cdef int start_sum(self, int lane, int c, LeafPointers pointers) except -1 nogil
    cdef int sum_chunk(self, int lane, int c, LeafPointers pointers) except -1 nogil
    cdef int begin_done(self, int c, uint64_t seen) except -1 nogil
    cdef int end_done(self, int c, uint64_t seen) except -1 nogil
    cdef int begin_count(self) except -1 nogil
    cdef int end_count(self) except -1 nogil
    cdef int read(self, int lane, int source, int member, int64_t offset, int64_t nbytes) except -1 nogil
    cdef int unpin_all(self) except -1 nogil
    cdef int start_collecting(self, int lane, int c, int member) except -1 nogil
    cdef int end_collecting(self, int lane, int c, LeafPointers pointers) except -1 nogil
    cdef void scatter(self, int c, char* sums, const void** sources, LeafPointers pointers) noexcept nogil
    cdef int still_kept(self, bint* kept) except -1 nogil
