"""The words of a remote window: operations on them, and who performs these."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.mpi.rma cimport wagma_batch, wagma_handle, wagma_operation, wagma_progress
from wagma_rma.waiting.waiter cimport Waiter
from wagma_rma.windows.bells cimport Bells

# How a look at a rank stands (looks).
cdef enum Look:
    UNASKED = 0
    ASKED = 1     # it is in flight
    EARLIER = 2   # one of an earlier call is
    ANSWERED = 3
    FAILED = 4    # MPI has reported an error

cdef class RemoteWords:
    cdef int rank, ranks
    cdef Waiter waiter
    cdef wagma_batch* direct       # operations that this rank performs itself
    cdef wagma_batch* threaded     # operations that its progress thread performs
    cdef wagma_progress* thread    # or NULL: then `threaded` stays empty
    cdef char* is_far              # per rank: it is on another host, and there is a thread
    cdef bint performing           # the thread performs `threaded`, or its results have not been returned yet
    cdef bint only_bells           # `threaded` holds nothing but rings, for which this rank does not wait
    cdef double give_up_at         # when to raise an interruption although a rank does not answer, or 0
    cdef Bells bells
    cdef int* reads                # per rank: bulk reads of its memory in flight, counted by RemoteReads
    cdef int reads_in_flight       # their sum
    cdef int looks_in_flight       # changed by their thread (looks)
    cdef const char* looks         # per rank: how a look at it stands; or NULL

    cdef void open(self, wagma_handle window, int64_t bell) noexcept nogil
    cdef bint start_thread(self, tuple hosts, wagma_handle comm, uint64_t* bell) except -1
    cdef void release(self) noexcept

    cdef wagma_operation* begin(self, int verb, int rank, int64_t word, uint64_t operand,
                                uint64_t* found) except NULL nogil
    cdef int complete(self) except -1 nogil
    cdef bint have_begun(self) noexcept nogil
    cdef int perform_directly(self) except -1 nogil
    cdef int wait_for_thread(self) except -1 nogil
    cdef bint awaits_far_rank(self) noexcept nogil
    cdef int awaited(self) noexcept nogil

    cdef int ring(self, int rank) except -1 nogil
    cdef int perform_bells(self) except -1 nogil
    cdef void count_read(self, int rank, int change) noexcept nogil

    cdef int check(self, int error, const char* operation, int rank) except -1 nogil
    cdef int give_up(self) except -1 nogil
    cdef void discard(self) noexcept nogil
