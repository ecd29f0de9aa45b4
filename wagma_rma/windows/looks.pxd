"""Looks at bulk memory of ranks on other hosts, beside the steps."""

from libc.stdint cimport int64_t
from wagma_rma.mpi.rma cimport wagma_handle
from wagma_rma.waiting.worker cimport Worker
from wagma_rma.windows.remote_words cimport RemoteWords

cdef class Looks:
    cdef RemoteWords words
    cdef wagma_handle window, byte_type
    cdef Worker worker
    cdef object one_at_a_time      # a lock
    cdef int64_t offset
    cdef int nbytes                # of a look
    cdef char* scratch             # where the bytes go, per rank
    cdef wagma_handle* requests    # per rank
    cdef char* progress            # per rank
    cdef int* asked                # the ranks of this call
    cdef int count
    cdef double until              # when this call gives up
    cdef bint is_over              # all have answered, or the time is over
    cdef bint is_wanted            # another call waits for the thread

    cdef int prepare(self, int nbytes) except -1
    cdef object answer(self, int rank)
    cdef int perform(self) except -1 nogil
    cdef void ask(self, int rank) noexcept nogil
    cdef void test(self) noexcept nogil
    cdef void release(self) noexcept
