"""Bells: words by which ranks tell each other's progress threads that they are needed.

Each rank has a bell, a word that other ranks add one to when they operate on the rank's memory. Its progress thread
sees the word change, and polls MPI without sleeping for a while (mpi/progress.h). To *ring* is to add one.

A rank never waits for the answer to a ring: while its own progress thread waits in MPI for a rank that is stopped, MPI
may block the rank's own calls. So a ring is left in flight, in one of two ways:

- MPICH: an addition is begun and left in flight; its answer arrives some time later.
- Open MPI: a compare-and-swap would wait for its answer, so the ring is added to the batch of the progress thread.
"""

from libc.stdlib cimport calloc, free
from wagma_rma.kernels.atomics cimport wagma_load
from wagma_rma.mpi.finalize_hook cimport RMA
from wagma_rma.mpi.rma cimport WAGMA_ADD, WAGMA_UNANSWERED, wagma_batch_add

# Seconds from one ring to the next. A thread whose bell is rung so often sleeps for an eighth of this time at most.
cdef double RING_EVERY = 300e-6
cdef uint64_t ONE = 1


cdef class Bells:
    """The bells of all ranks, as one rank rings them. Local.

    Args:
        ranks: how many.

    Raises:
        MemoryError: there is no memory for the tables of ranks.
    """

    def __init__(self, int ranks):
        self.ranks = ranks
        self.last_ring = <double*> calloc(ranks, sizeof(double))
        self.answers = <uint64_t*> calloc(ranks, sizeof(uint64_t))
        if self.last_ring is NULL or self.answers is NULL:
            raise MemoryError("RemoteWindow: no memory for the table of ranks")

    cdef int ring(self, int rank, double now, bint batch_has_room) noexcept nogil:
        """Ring a rank's bell unless this rank has just rung it. Return MPI's error code."""
        cdef int error
        if now - self.last_ring[rank] < RING_EVERY:
            return 0
        if self.batch.by_swap:
            if batch_has_room:
                self.last_ring[rank] = now
                wagma_batch_add(self.batch, WAGMA_ADD, rank, self.word, ONE, NULL)
            return 0
        if wagma_load(&self.answers[rank]) == WAGMA_UNANSWERED:
            return 0
        self.last_ring[rank] = now
        self.answers[rank] = WAGMA_UNANSWERED
        self.any_unanswered = True
        error = RMA.fetch_and_op(&ONE, &self.answers[rank], self.batch.type, rank, self.word, self.batch.sum,
                                 self.batch.win)
        if error:
            self.answers[rank] = 0
        return error

    cdef int unanswered(self) noexcept nogil:
        """Return the first rank that has not answered a ring, or -1."""
        cdef int rank
        if self.any_unanswered:
            for rank in range(self.ranks):
                if wagma_load(&self.answers[rank]) == WAGMA_UNANSWERED:
                    return rank
            self.any_unanswered = False
        return -1

    cdef void release(self) noexcept nogil:
        """Free the memory. MPI writes answers into it until the window ends."""
        free(self.last_ring)
        free(self.answers)
        self.last_ring, self.answers = NULL, NULL
