"""Looks at bulk memory of ranks on other hosts, by any thread, at any time, in a step or not.

A look is one MPI_Rget. A thread of its own makes the calls of MPI, since any of them may wait for a rank that does not
answer: whoever looks waits for the thread no longer than it has said. What is unanswered then stays in flight, and a later
look at that rank waits for it.

Nobody rings a bell for a look (``bells``): a progress thread that sleeps answers within two milliseconds.
"""

import threading

from libc.stdlib cimport calloc, free
from wagma_rma.kernels.clock cimport wagma_now, wagma_sleep
from wagma_rma.mpi.finalize_hook cimport RMA, handle_of

from cpython.bytes cimport PyBytes_FromStringAndSize
from mpi4py import MPI

# Seconds between two polls: while a look is young, and later.
cdef double POLL_EVERY = 50e-6
cdef double POLL_SILENT_EVERY = 2e-3
cdef double YOUNG = 5e-3
cdef double MARGIN = 0.1  # seconds that the thread has to come back, if no call of MPI keeps it


cdef class Looks:
    """Looks of one rank at the others, each time at the same range of their memory. Local.

    Args:
        words: of the same window.
    """

    def __init__(self, RemoteWords words):
        self.words = words
        self.byte_type = handle_of(MPI.BYTE)
        self.one_at_a_time = threading.Lock()

    cdef int prepare(self, int nbytes) except -1:
        """Allocate memory for a look at every rank."""
        if self.scratch is not NULL:
            return 0
        self.nbytes = nbytes
        self.scratch = <char*> calloc(self.words.ranks, nbytes)
        self.requests = <wagma_handle*> calloc(self.words.ranks, sizeof(wagma_handle))
        self.progress = <char*> calloc(self.words.ranks, 1)
        self.asked = <int*> calloc(self.words.ranks, sizeof(int))
        if self.scratch is NULL or self.requests is NULL or self.progress is NULL or self.asked is NULL:
            self.release()
            raise MemoryError(f"RemoteWindow: no memory to look at {self.words.ranks} ranks")
        return 0

    def look(self, list ranks, int64_t offset, int nbytes, double seconds):
        """Return the bytes of a range of bulk memory of each of some ranks; None for those that have not answered.

        Args:
            offset, nbytes: the same in all calls.
            seconds: after which this call returns, about.
        """
        cdef bint done
        cdef int i
        if not ranks:
            return []
        with self.one_at_a_time:
            self.prepare(nbytes)
            if self.worker is None:
                self.worker = Worker()
            with nogil:
                done = self.worker.is_done(seconds)  # of a call before, whose thread MPI keeps
            if not done:
                return [None] * len(ranks)
            self.count = len(ranks)
            for i in range(self.count):
                self.asked[i] = ranks[i]
            self.offset, self.until = offset, wagma_now() + seconds
            with nogil:
                self.worker.begin(perform_looks, <void*> self)
                done = self.worker.is_done(seconds + MARGIN)
            if not done:
                return [None] * len(ranks)
            if self.failed:
                error, self.failed = self.failed, 0
                failure = MPI.Exception(error)
                failure.add_note(f"RemoteWindow: a look by rank {self.words.rank} at rank {self.failed_rank}")
                raise failure
            return [self.answer(rank) for rank in ranks]

    cdef object answer(self, int rank):
        """Return what a look has found at a rank; None if that has not answered."""
        if self.progress[rank] != ANSWERED:
            return None
        return PyBytes_FromStringAndSize(self.scratch + rank * <int64_t> self.nbytes, self.nbytes)

    cdef int perform(self) except -1 nogil:
        """Look at all that were asked, until they have answered or the time is over."""
        cdef double began = wagma_now(), now
        cdef int i, rank, error
        for i in range(self.count):
            rank = self.asked[i]
            if self.progress[rank] == ASKED:
                continue
            error = RMA.get(self.scratch + rank * <int64_t> self.nbytes, self.nbytes, self.byte_type, rank, self.offset,
                            self.window, &self.requests[rank])
            if error:
                self.failed, self.failed_rank = error, rank
                return 0
            self.progress[rank] = ASKED
            self.words.looks_in_flight += 1
        while True:
            self.test()
            now = wagma_now()
            for i in range(self.count):
                if self.progress[self.asked[i]] == ASKED:
                    break
            else:
                return 0
            if now > self.until or self.failed:
                return 0
            wagma_sleep(POLL_EVERY if now - began < YOUNG else POLL_SILENT_EVERY)

    cdef void test(self) noexcept nogil:
        """Find which looks have been answered."""
        cdef int rank, done, error
        for rank in range(self.words.ranks):
            if self.progress[rank] == ASKED:
                error = RMA.test(&self.requests[rank], &done)
                if error:
                    self.failed, self.failed_rank = error, rank
                if done or error:
                    self.progress[rank] = ANSWERED
                    self.words.looks_in_flight -= 1

    cdef void release(self) noexcept:
        """Free the memory. No look may be in flight."""
        free(self.scratch)
        free(self.requests)
        free(self.progress)
        free(self.asked)
        self.scratch, self.requests, self.progress, self.asked = NULL, NULL, NULL, NULL

    def end(self):
        """End the thread, and wait for looks in flight. All ranks must be there to answer."""
        cdef bint done = False
        if self.worker is None:
            return
        with self.one_at_a_time:
            with nogil:
                self.until = 0
                while not self.worker.is_done(1):
                    pass
                while self.words.looks_in_flight:
                    self.test()
                    wagma_sleep(POLL_EVERY)
            self.worker.stop()
            self.worker = None
            self.release()


cdef int perform_looks(void* owner) except -1 nogil:
    """Perform looks, for the Looks that own them."""
    return (<Looks> owner).perform()
