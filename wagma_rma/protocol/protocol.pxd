"""The cooperative, wait-avoiding group average over one-sided memory: one group step of one rank."""

cimport cython

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.model.leaf_pointers cimport LeafPointers
from wagma_rma.protocol.calls cimport Calls
from wagma_rma.protocol.events cimport Event, Events
from wagma_rma.protocol.exchange cimport Exchange
from wagma_rma.protocol.layout cimport Layout
from wagma_rma.protocol.pace cimport Pace
from wagma_rma.protocol.record cimport Record
from wagma_rma.protocol.row cimport AVERAGING, SYNCHRONIZING, Row
from wagma_rma.protocol.snapshots cimport Snapshots
from wagma_rma.protocol.turn cimport Group, Turn
from wagma_rma.waiting.waiter cimport Waiter
from wagma_rma.waiting.worker cimport Worker
from wagma_rma.windows.window cimport Window

cdef enum Outcome:
    FRESH = 0
    LATE = 1
    MISSED = 2
    LOCAL = 4

# The names of fields are those of report.Report and report.Statistics.

cdef struct Step:
    uint64_t step
    int outcome
    uint64_t source_step
    bint initiated
    bint published
    int chunks_computed
    int64_t bytes_read
    int64_t bytes_over_network
    double seconds_waited
    double seconds

cdef struct Totals:
    int64_t steps
    int64_t fresh
    int64_t late
    int64_t missed
    int64_t local
    int64_t initiated
    int64_t unpublished
    int64_t chunks_computed
    int64_t bytes_read
    int64_t bytes_over_network
    double seconds_waited
    double seconds

# Of the group step under way, where a trace is kept; otherwise only the first and the last one. Seconds on the clock.
cdef struct Moments:
    double began
    double published
    double opened
    double exchanged
    double ended
    double waited  # in the call

@cython.final
cdef class Protocol:
    cdef readonly Window window
    cdef readonly Layout layout
    cdef readonly Snapshots snapshots
    cdef readonly Row row     # what it tells of its pace
    cdef Waiter waiter
    cdef Calls calls
    cdef Turn turn
    cdef Record record
    cdef Exchange exchange
    cdef Pace pace
    cdef uint64_t group_period  # steps from one group step to the next
    cdef int quorum
    cdef double patience      # seconds, or negative for the running estimate
    cdef Step now             # the group step under way
    cdef Step local           # the last step at which this rank exchanged nothing; a rest may be under way then
    cdef Moments moments
    cdef double ended         # when the last step ended for the caller, seconds on the clock
    cdef public Events events # for a trace; or None
    cdef Step last            # the last one that is over, and if it was a group step:
    cdef Group* group         #   the group whose sums it used
    cdef uint64_t* contributions
    cdef bint gathered        # the caller's model has been copied, so its output may be written
    cdef bint performed       # this rank has not been called to a synchronisation instead

    # The rest of a group step, behind the program's back.
    cdef readonly bint overlaps
    cdef Worker worker
    cdef LeafPointers behind  # its model and its output
    cdef double rest_patience
    cdef readonly bint rest_under_way # has begun, and nobody has waited for its end yet
    cdef bint interrupts_rest # an interruption came before it
    cdef readonly bint rest_failed     # an error of it leaves its step half done for good
    cdef Totals totals        # over all steps but the synchronisations
    # Counted here, where no signal can come between a step and its number.
    cdef readonly uint64_t last_step, last_synchronized
    cdef readonly double waited_for_call  # seconds, in the last call of step(), if it has ended by a call

    cdef void count(self, Step* done) noexcept
    cdef void record_event(self) noexcept
    cdef double now_patience(self) noexcept nogil
    cdef int local_step(self, uint64_t step, LeafPointers pointers) except -1 nogil
    cdef int group_step(self, uint64_t step, LeafPointers pointers) except -1 nogil
    cdef int rest(self, LeafPointers pointers, double patience) except -1 nogil
    cdef int begin_rest(self, double patience) except -1 nogil
    cdef int perform_behind(self) except -1 nogil
    cpdef bint rest_is_done(self)
    cdef double patience_behind(self, double patience) noexcept nogil
    cdef void end(self, double started) noexcept nogil
    cdef int choose_source(self) except -1 nogil
    cdef int miss(self, LeafPointers pointers) except -1 nogil
