"""Looks at bulk memory of ranks on other hosts, by any thread, at any time, in a step or not.

A look is one MPI_Rget. A thread of its own makes the calls of MPI, since any of them may wait for a rank that does not
answer: whoever looks waits for the thread no longer than it has said. What is unanswered then stays in flight, and the thread
goes on to poll for it; a later look at that rank is made when the earlier one has been answered.

Nobody rings a bell for a look (``bells``): a progress thread that sleeps answers within two milliseconds.
"""

import threading

from libc.stdlib cimport calloc, free
from wagma_rma.kernels.clock cimport wagma_now, wagma_sleep
from wagma_rma.mpi.finalize_hook cimport RMA, handle_of
from wagma_rma.windows.remote_words cimport ANSWERED, ASKED, EARLIER, FAILED, UNASKED

from cpython.bytes cimport PyBytes_FromStringAndSize
from mpi4py import MPI

# Seconds between two polls: while a look is young, and later.
cdef double POLL_EVERY = 50e-6
cdef double POLL_SILENT_EVERY = 2e-3
cdef double YOUNG = 5e-3
cdef double MARGIN = 0.1  # seconds that the thread has to say that the time is over, if no call of MPI keeps it

# What the threads use; nobody else may have it any more.
cdef set polling = set()


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
        self.words.looks = self.progress
        return 0

    def look(self, list ranks, int64_t offset, int nbytes, double seconds):
        """Return the bytes of a range of bulk memory of each of some ranks; None for those that have not answered.

        Args:
            offset, nbytes: the same in all calls.
            seconds: after which this call returns, about.
        """
        cdef bint done
        cdef int i
        cdef double began = wagma_now()
        if not ranks:
            return []
        with self.one_at_a_time:
            self.prepare(nbytes)
            if self.worker is None:
                self.worker = Worker()
            self.is_wanted = True
            with nogil:
                done = self.worker.is_done(seconds)  # a call of MPI may keep the thread
            self.is_wanted = False
            if not done:
                return [None] * len(ranks)
            polling.add(self)
            self.count = len(ranks)
            for i in range(self.count):
                self.asked[i] = ranks[i]
            self.offset, self.until, self.is_over = offset, began + seconds, False
            with nogil:
                self.worker.begin(perform_looks, <void*> self)
                while not self.is_over and wagma_now() < self.until + MARGIN:
                    wagma_sleep(POLL_EVERY if wagma_now() - began < YOUNG else POLL_SILENT_EVERY)
            return [self.answer(rank) if self.is_over else None for rank in ranks]

    cdef object answer(self, int rank):
        """Return what a look has found at a rank; None if that has not answered."""
        if self.progress[rank] != ANSWERED:
            return None
        return PyBytes_FromStringAndSize(self.scratch + rank * <int64_t> self.nbytes, self.nbytes)

    cdef int perform(self) except -1 nogil:
        """Look at all that were asked, and poll until they have answered, or somebody looks again."""
        cdef double began = wagma_now(), now
        cdef int rank, i, left
        for rank in range(self.words.ranks):
            self.progress[rank] = EARLIER if self.progress[rank] in (ASKED, EARLIER) else UNASKED
        for i in range(self.count):
            if self.progress[self.asked[i]] == UNASKED:
                self.ask(self.asked[i])
        while True:
            self.test()
            now = wagma_now()
            if not self.is_over:
                left = 0
                for i in range(self.count):
                    rank = self.asked[i]
                    if self.progress[rank] == UNASKED and now < self.until:
                        self.ask(rank)  # it has answered an earlier look
                    left += self.progress[rank] != ANSWERED and self.progress[rank] != FAILED
                self.is_over = left == 0 or now > self.until
            if self.is_over and (self.words.looks_in_flight == 0 or self.is_wanted):
                return 0
            wagma_sleep(POLL_EVERY if now - began < YOUNG else POLL_SILENT_EVERY)

    cdef void ask(self, int rank) noexcept nogil:
        """Begin to look at a rank."""
        cdef int error
        self.words.looks_in_flight += 1  # before: a call of MPI might wait for it
        error = RMA.get(self.scratch + rank * <int64_t> self.nbytes, self.nbytes, self.byte_type, rank, self.offset,
                        self.window, &self.requests[rank])
        self.progress[rank] = FAILED if error else ASKED
        if error:
            self.words.looks_in_flight -= 1

    cdef void test(self) noexcept nogil:
        """Find which looks have been answered."""
        cdef int rank, done = 0, error
        for rank in range(self.words.ranks):
            if self.progress[rank] == ASKED or self.progress[rank] == EARLIER:
                error = RMA.test(&self.requests[rank], &done)
                if error or done:
                    self.progress[rank] = FAILED if error else ANSWERED if self.progress[rank] == ASKED else UNASKED
                    self.words.looks_in_flight -= 1

    cdef void release(self) noexcept:
        """Free the memory. No look may be in flight."""
        free(self.scratch)
        free(self.requests)
        free(self.progress)
        free(self.asked)
        self.scratch, self.requests, self.progress, self.asked = NULL, NULL, NULL, NULL
        self.words.looks = NULL

    def end(self):
        """End the thread, and wait for looks in flight. All ranks must be there to answer."""
        if self.worker is None:
            return
        with self.one_at_a_time:
            self.is_wanted, self.until = False, 0
            with nogil:
                while not self.worker.is_done(1):  # it polls until all have answered
                    pass
                while self.words.looks_in_flight:
                    self.test()
                    wagma_sleep(POLL_EVERY)
            self.worker.stop()
            self.worker = None
            self.release()
        polling.discard(self)

    def stop(self):
        """Poll no more for looks in flight: MPI may end. Local."""
        cdef bint done = True
        if self.worker is None:
            return
        with self.one_at_a_time:
            self.is_wanted, self.until = True, 0
            with nogil:
                done = self.worker.is_done(MARGIN)
        if done:  # or a call of MPI keeps the thread
            polling.discard(self)


cdef int perform_looks(void* owner) except -1 nogil:
    """Perform looks, for the Looks that own them."""
    return (<Looks> owner).perform()
