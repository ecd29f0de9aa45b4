"""The memory of ranks on many hosts as a window: MPI one-sided operations."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.mpi.finalize_hook cimport FinalizeHook
from wagma_rma.mpi.rma cimport wagma_handle, wagma_operation, wagma_progress, wagma_words
from wagma_rma.windows.shared cimport SharedWindow
from wagma_rma.windows.window cimport Window

cdef struct Request:
    wagma_handle handle
    int rank             # whose memory is read
    bint active

cdef class RemoteWindow(Window):
    cdef bint opened               # and not freed since; the collector of garbage may have cleared all objects
    cdef object comm, host_comm
    cdef object words_window, bulk_window
    cdef SharedWindow host_window  # the bulk memory of this host's ranks
    cdef int64_t words             # bytes of words; bulk memory begins behind them
    cdef readonly tuple hosts      # the host of each rank
    cdef readonly str progress     # "thread" or "none"
    cdef readonly str why          # it is so
    cdef char** base               # per rank: its bulk memory if it is near, or NULL

    cdef wagma_handle words_handle, bulk_handle, byte_type
    cdef wagma_words* near         # operations on words that this rank makes itself
    cdef wagma_words* far          # those that its thread makes: on words of other hosts, and what complete() hands over
    cdef wagma_progress* thread
    cdef object thread_comm        # that it polls
    cdef FinalizeHook finalize_hook             # of both windows, and of the thread
    cdef double* rung              # per rank: when its bell was last rung
    cdef uint64_t* bells           # per rank: what the bell held then, or WAGMA_UNANSWERED
    cdef bint rang                 # a bell may be unanswered
    cdef bint operating            # the thread makes operations
    cdef bint ringing              # which are bells alone: nobody need wait for them
    cdef double given_up           # when to raise an interruption, or 0

    cdef char* scratch             # where bulk reads go, per lane and source
    cdef Request* requests         # alike, and per piece
    cdef int sources, pieces
    cdef int reading               # requests that are active
    cdef int64_t source_bytes, piece_bytes

    cdef wagma_words* words_of(self) except NULL
    cdef wagma_operation* begin(self, int verb, int rank, int64_t word, uint64_t operand,
                                uint64_t* found) except NULL nogil
    cdef int ring(self, int rank) except -1 nogil
    cdef bint in_flight(self) noexcept nogil
    cdef int awaited(self) noexcept nogil
    cdef int wait_for_thread(self) except -1 nogil
    cdef int complete_read(self, Request* request) except -1 nogil
    cdef int give_up(self) except -1 nogil
    cdef void drop(self) noexcept nogil
    cdef int send_bells(self) except -1 nogil
    cdef int check(self, int error, const char* operation, int rank) except -1 nogil
    cdef bint needs_help(self) except -1
