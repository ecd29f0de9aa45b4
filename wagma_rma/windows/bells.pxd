"""Bells: words by which ranks tell each other's progress threads that they are needed."""

from libc.stdint cimport int64_t, uint64_t
from wagma_rma.mpi.rma cimport wagma_batch

cdef class Bells:
    cdef int ranks
    cdef int64_t word          # the bell's byte offset in each rank's window of words
    cdef wagma_batch* batch    # of the progress thread; rings are added to it where they can't be left in flight
    cdef double* last_ring     # per rank: when this rank last rang its bell, seconds on the clock
    cdef uint64_t* answers     # per rank: what its bell held at the last ring, or WAGMA_UNANSWERED
    cdef bint any_unanswered   # unless it has been answered meanwhile

    cdef int ring(self, int rank, double now, bint batch_has_room) noexcept nogil
    cdef int unanswered(self) noexcept nogil
    cdef void release(self) noexcept nogil
