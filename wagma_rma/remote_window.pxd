"""The memory of ranks on many hosts as a window: MPI one-sided operations."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.ending cimport Ending
from wagma_rma.rma cimport wagma_handle, wagma_progress, wagma_rma
from wagma_rma.shared_window cimport SharedWindow
from wagma_rma.window cimport Window

cdef struct Operation:
    uint64_t operand     # MPI reads these three, and writes `result`, until the flush
    uint64_t expected
    uint64_t result
    uint64_t* found      # where the caller wants it, or NULL

cdef struct Request:
    wagma_handle handle
    int rank             # whose memory is read
    bint active

cdef class RemoteWindow(Window):
    cdef object comm, host_comm
    cdef object words_window, bulk_window
    cdef SharedWindow host_window  # the bulk memory of this host's ranks
    cdef int64_t words             # bytes of words; bulk memory begins behind them
    cdef readonly tuple hosts      # the host of each rank
    cdef readonly str progress     # "thread" or "none"
    cdef readonly str why          # it is so
    cdef char** base               # per rank: its bulk memory if it is near, or NULL

    cdef const wagma_rma* rma
    cdef wagma_handle words_handle, bulk_handle, word_type, byte_type
    cdef wagma_handle add, maximum, replace, nothing  # MPI_SUM and so on

    cdef wagma_progress* thread
    cdef object thread_comm        # that it polls
    cdef Ending ending             # of both windows, and of the thread
    cdef double* rung              # per rank: when its bell was last rung

    cdef Operation* operations     # begun since the last flush
    cdef int operation_count
    cdef char* touched             # per rank: there are some on its words
    cdef int* near_targets         # those that are flushed here
    cdef int* far_targets          # those that the thread flushes
    cdef int near_count, far_count
    cdef int flushing              # how many it is flushing
    cdef double given_up           # when to raise an interruption, or 0

    cdef char* scratch             # where bulk reads go, per lane and source
    cdef Request* requests         # alike
    cdef int sources
    cdef int64_t source_bytes

    cdef Operation* begin(self, int rank, uint64_t* found) except NULL nogil
    cdef int fetch_and_op(self, int rank, int64_t word, uint64_t operand, wagma_handle op,
                          uint64_t* found) except -1 nogil
    cdef int touch(self, int rank) except -1 nogil
    cdef int flush_far(self) except -1 nogil
    cdef int complete_read(self, Request* request) except -1 nogil
    cdef int give_up(self) except -1 nogil
    cdef int check(self, int error, const char* operation, int rank) except -1 nogil
    cdef bint needs_help(self) except -1
