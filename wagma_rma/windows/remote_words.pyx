"""The words of a remote window: operations on them, and who performs these.

Operations are begun one by one and completed together, as a batch (mpi/operations.h). There are two batches:

- *direct*: this rank performs these itself. They are on words of this host, or on all words where there is no progress
  thread.
- *threaded*: the progress thread performs these (mpi/progress.h). They are on words of other hosts, and on words of
  this host where complete() finds that MPI might make this rank wait for another host.

A call of MPI that waits can't be cut short. Where the thread makes that call instead, this rank waits for its thread:
then it can name the rank that does not answer, and be interrupted.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from wagma_rma.mpi.finalize_hook cimport RMA, handle_of
from wagma_rma.mpi.rma cimport (WAGMA_LONGEST_SLEEP, wagma_batch_add, wagma_batch_free, wagma_batch_move,
                                wagma_batch_new, wagma_batch_perform, wagma_batch_return_results,
                                wagma_batch_unanswered, wagma_progress_free, wagma_progress_perform,
                                wagma_progress_start, wagma_progress_wait)

from mpi4py import MPI

from wagma_rma.mpi.abi import abi

cdef enum:
    OPERATIONS = 1024  # most that are begun and not completed, in each batch; the next one completes them first

cdef double CHECK_EVERY = 50e-3  # of signals and the watcher, in a wait for the thread
# After a longer sleep a rank polls seldom, so its operations may wait until their target's thread wakes up by itself. A
# ring would keep that thread awake for nothing.
cdef double LONG_SLEEP = 5e-3
# An interrupted rank first finishes its step, unless it waits this long, in seconds, for a rank that does not answer.
# What is in flight on a slow network may take seconds.
cdef double GRACE = 10.0


cdef wagma_batch* new_batch(int ranks) except NULL:
    """Return an empty batch that knows the functions of MPI, but no window yet."""
    # Twice as many as may be begun: complete() may move one batch into the other.
    cdef wagma_batch* batch = wagma_batch_new(ranks, 2 * OPERATIONS)
    if batch is NULL:
        raise MemoryError("RemoteWindow: no memory for operations in flight")
    batch.rma = RMA
    batch.type = handle_of(MPI.UINT64_T)
    batch.no_op, batch.sum, batch.max = handle_of(MPI.NO_OP), handle_of(MPI.SUM), handle_of(MPI.MAX)
    batch.by_swap = abi() == "openmpi"
    return batch


cdef class RemoteWords:
    """Operations of one rank on the words of all ranks. Local, but verbs wait for the ranks that they operate on.

    Args:
        rank, ranks: this rank, and how many there are.
        waiter: this rank's.

    Raises:
        MemoryError: there is no memory for the tables.
    """

    def __init__(self, int rank, int ranks, Waiter waiter):
        self.rank = rank
        self.ranks = ranks
        self.waiter = waiter
        try:
            self.direct = new_batch(ranks)
            self.threaded = new_batch(ranks)
            self.bells = Bells(ranks)
            self.bells.batch = self.threaded
            self.is_far = <char*> calloc(ranks, 1)
            self.reads = <int*> calloc(ranks, sizeof(int))
            if self.is_far is NULL or self.reads is NULL:
                raise MemoryError("RemoteWindow: no memory for the table of ranks")
        except Exception:
            self.release()
            raise

    cdef void open(self, wagma_handle window, int64_t bell) noexcept nogil:
        """Use a window of MPI, in which the bell of each rank is at the byte offset `bell`."""
        self.direct.win = self.threaded.win = window
        self.bells.word = bell

    cdef bint start_thread(self, tuple hosts, wagma_handle comm, uint64_t* bell) except -1:
        """Start the progress thread; return whether the operating system allowed it.

        Args:
            hosts: the host of each rank.
            comm: a communicator that the thread alone uses.
            bell: this rank's.
        """
        self.thread = wagma_progress_start(comm, self.threaded, bell)
        if self.thread is NULL:
            return False
        for rank, host in enumerate(hosts):
            self.is_far[rank] = host != hosts[self.rank]
        return True

    cdef void release(self) noexcept:
        """Free the memory. MPI and the thread use it, so both must have ended; if they never do, it is never freed."""
        if self.thread is not NULL:
            wagma_progress_free(self.thread)
        wagma_batch_free(self.direct)
        wagma_batch_free(self.threaded)
        free(self.is_far)
        free(self.reads)
        self.thread, self.direct, self.threaded, self.is_far, self.reads = NULL, NULL, NULL, NULL, NULL
        if self.bells is not None:
            self.bells.release()

    # Beginning and completing operations.

    cdef wagma_operation* begin(self, int verb, int rank, int64_t word, uint64_t operand,
                                uint64_t* found) except NULL nogil:
        """Begin an operation on a word. complete() performs it, and writes what the word held to *found."""
        cdef wagma_batch* batch = self.threaded if self.is_far[rank] else self.direct
        if batch.count >= OPERATIONS:
            self.complete()
        if batch is self.threaded:
            if self.performing:
                self.wait_for_thread()  # it performs rings, or what an interruption has left
            if self.waiter.slept < LONG_SLEEP:
                self.ring(rank)
        return wagma_batch_add(batch, verb, rank, word, operand, found)

    cdef bint have_begun(self) noexcept nogil:
        """Return whether any operation has been begun and not completed."""
        return self.direct.count or self.threaded.count

    cdef int complete(self) except -1 nogil:
        """Complete all operations begun so far. The two batches are performed at the same time."""
        if self.direct.count and self.thread is not NULL:
            # A call of MPI that completes an operation also waits for other operations in flight, to any rank: with
            # Open MPI for those on words, with MPICH over ofi for all. Meanwhile it lets no other thread into MPI.
            if self.performing:
                self.wait_for_thread()  # it performs rings, or what an interruption has left
            if self.awaits_far_rank():
                wagma_batch_move(self.threaded, self.direct)
        if self.threaded.count and not self.performing:
            # The target's thread may sleep for so long before it answers.
            self.threaded.delay = WAGMA_LONGEST_SLEEP if self.waiter.slept >= LONG_SLEEP else 0
            self.only_bells = False
            self.performing = True
            wagma_progress_perform(self.thread)
        if self.direct.count:
            self.perform_directly()
        if self.performing and not self.only_bells:
            self.wait_for_thread()
        self.waiter.slept = 0
        return 0

    cdef int perform_directly(self) except -1 nogil:
        """Perform the direct batch in this thread."""
        cdef int error = wagma_batch_perform(self.direct)
        self.check(error, "an operation on a word", self.direct.waits_for)
        wagma_batch_return_results(self.direct)
        return 0

    cdef int wait_for_thread(self) except -1 nogil:
        """Wait until the thread has performed its batch, and return the results."""
        cdef double started = self.waiter.now()
        cdef int error
        while not wagma_progress_wait(self.thread, CHECK_EVERY, &error):
            self.waiter.run_handlers(self.waiter.now() - started, self.awaited())
            self.give_up()
        self.performing = False
        self.give_up_at = 0
        self.check(error, "an operation on a word", self.threaded.waits_for)
        wagma_batch_return_results(self.threaded)
        return 0

    cdef bint awaits_far_rank(self) noexcept nogil:
        """Return whether a direct operation might wait for a rank of another host that has something to answer."""
        if self.threaded.count or ((self.reads_in_flight or self.looks_in_flight) and not self.threaded.by_swap):
            return True
        return self.bells.unanswered() >= 0

    cdef int awaited(self) noexcept nogil:
        """Return the rank that the thread waits for: the first that has something to answer."""
        cdef int rank = wagma_batch_unanswered(self.threaded)
        if rank < 0:
            rank = self.bells.unanswered()
        if rank >= 0:
            return rank
        for rank in range(self.ranks):
            if self.reads[rank] or (self.looks is not NULL and self.looks[rank] in (ASKED, EARLIER)):
                return rank
        return self.threaded.waits_for

    # What bulk reads need of this class.

    cdef int ring(self, int rank) except -1 nogil:
        """Tell the progress thread of a far rank that it is needed."""
        cdef bint has_room
        if not self.is_far[rank]:
            return 0
        # One place is kept for the operation that is about to begin.
        has_room = not self.performing and self.threaded.count < OPERATIONS - 1
        return self.check(self.bells.ring(rank, self.waiter.now(), has_room), "an operation on a word", rank)

    cdef int perform_bells(self) except -1 nogil:
        """Have the thread perform the rings that wait in its batch; if it has performed a batch, return the results.

        A bulk read calls this in its wait: no complete() may follow soon.
        """
        cdef int i, error
        if not self.threaded.by_swap:
            return 0
        if self.threaded.count and not self.performing:
            self.only_bells = True
            for i in range(self.threaded.count):
                self.only_bells = self.only_bells and self.threaded.operations[i].word == self.bells.word
            self.performing = True
            wagma_progress_perform(self.thread)
        elif self.performing and wagma_progress_wait(self.thread, 0, &error):
            self.wait_for_thread()
        return 0

    cdef void count_read(self, int rank, int change) noexcept nogil:
        """Count a bulk read that begins (1) or ends (-1)."""
        self.reads[rank] += change
        self.reads_in_flight += change

    # Errors and interruptions.

    cdef int check(self, int error, const char* operation, int rank) except -1 nogil:
        """Raise MPI's exception for an error code, with a note that names the operation and the two ranks."""
        if error == 0:
            return 0
        with gil:
            self.discard()
            failure = MPI.Exception(error)
            failure.add_note(f"RemoteWindow: {operation.decode()} by rank {self.rank} on the memory of rank {rank}")
            raise failure

    cdef int give_up(self) except -1 nogil:
        """Raise the interruption of a wait, if there is one and no rank has answered for GRACE seconds since."""
        if not self.waiter.interrupted:
            self.give_up_at = 0
        elif self.give_up_at == 0:
            self.give_up_at = self.waiter.now() + GRACE
        elif self.waiter.now() > self.give_up_at:
            self.give_up_at = 0
            self.discard()
            with gil:
                self.waiter.raise_interruption()
        return 0

    cdef void discard(self) noexcept nogil:
        """Remove all operations, whose callers are about to see an exception.

        Operations that the thread is performing can't be removed; their results are returned to nobody.
        """
        cdef int i
        self.direct.count = 0
        if not self.performing:
            self.threaded.count = 0
        for i in range(self.threaded.count):
            self.threaded.operations[i].found = NULL
