"""The memory of ranks on many hosts as a window: MPI one-sided operations.

Words lie in a window that MPI allocates over all ranks, and are touched by MPI's atomics only, those of this host
too: an MPI's atomics are not atomic against C's. Each word knows one kind of change, beside the atomic read, as
the standard asks for. Bulk memory lies in shared memory, where the ranks of a host read it by loads; a second window
over the same memory lets those of other hosts get it.

Both are open for access from beginning to end (one passive-target epoch). Operations are begun and left in
flight; complete() and complete_reads() wait for them, and say which rank does not answer. Over a network that needs the
target's help each rank has a thread that gives it (progress.h).
"""

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from wagma_rma.mpi.finalize_hook cimport RMA, FinalizeHook, handle_of
from wagma_rma.mpi.rma cimport (WAGMA_ADD, WAGMA_LOAD, WAGMA_LONGEST_NAP, WAGMA_MAX, WAGMA_STORE, WAGMA_SWAP, WAGMA_UNANSWERED,
                            wagma_progress_free, wagma_progress_operate, wagma_progress_start, wagma_progress_wait,
                            wagma_words_awaited, wagma_words_free, wagma_words_give, wagma_words_make,
                            wagma_words_operate)
from wagma_rma.windows.shared cimport SharedWindow
from wagma_rma.waiting.waiter cimport Wait

from mpi4py import MPI

from wagma_rma.mpi.abi import abi
from wagma_rma.mpi.agreement import agree

cdef extern from "wagma_rma/kernels/atomics.h" nogil:
    void wagma_fence()
    uint64_t wagma_load(void* word)

cdef extern from "wagma_rma/kernels/clock.h" nogil:
    int wagma_sleep(double seconds)

cdef enum:
    LINE = 64          # bytes of a cache line
    OPERATIONS = 1024  # on words in flight at a time; one more waits for all
    # Open MPI over TCP sends as many bytes to the target as it gets from it, and twice as many from 128 kB on.
    OPENMPI_PIECE = 64 * 1024
    READ_LANES = 4     # batches of bulk reads: two in flight hide a round trip, the others uneven chunks

cdef double LOOK_EVERY = 50e-3
# What a chunk may take on a slow network whose connections are still to be made: to do it again costs as much, and a
# claimer that is stopped can be done without only if it is of this host.
cdef double LEAST_TAKE_OVER = 250e-3
# A look costs a round trip, to a thread that naps.
cdef double LATENESS = 0.12
cdef double LONGEST_SLEEP = 50e-3
# A look after a longer sleep can wait for its target to look up from a nap, and nap meanwhile; the bell would keep it
# awake for nothing.
cdef double LONG_SLEEP = 5e-3
cdef double SHORT_NAP = 20e-6  # between two looks at a bulk read: its data moves only while MPI is asked
cdef double LONG_WAIT_NAP = 2e-3  # the same, of a rank that has been silent for LOOK_EVERY
cdef double RING_EVERY = 300e-6  # a bell rung less often would let its thread fall into naps of a tenth of that
cdef uint64_t ONCE = 1
# After an interruption a step is still to be finished, unless a rank is not there to answer.
cdef double GRACE = 10.0  # what is in flight on a slow network may take seconds
# The test for help: targets sleep for NAP seconds; who operates on them begins after a third, and has been
# helped, or is late itself, if that takes as long.
cdef double NAP = 60e-3


cdef class RemoteWindow(Window):
    """A window over hosts.

    Args:
        comm: the ranks; it must live as long as the window.
        hosts: the host of each rank (wagma_rma.mpi.hosts.host_numbers).
        nbytes: the size of each rank's window, the same at every rank.
        words: how many of the first bytes hold words; they begin as zero.
        progress: "thread": this rank has a thread that serves operations on its memory while it computes.
            "none": the network does without. "auto": measured, in about a quarter of a second.

    Raises:
        MemoryError: a host has less shared memory free than its ranks need, on every rank.
        mpi4py.MPI.Exception: MPI says no, here or in any verb; a note names the operation.
    Collective, and so is free(). Verbs wait for the ranks whose memory they touch to answer: a network's round
    trip, or for as long as a process is stopped or its network is down; the watcher hears of that.
    """

    def __init__(self, comm, tuple hosts, int64_t nbytes, int64_t words, str progress="auto"):
        cdef int r, other
        self.comm = comm
        self.hosts = hosts
        self.rank = comm.Get_rank()
        self.ranks = comm.Get_size()
        self.nbytes = nbytes
        self.words = words
        self.lanes = READ_LANES
        if max(hosts):
            self.least_take_over = LEAST_TAKE_OVER
            self.waiter.lateness = LATENESS
            self.waiter.longest_sleep = LONGEST_SLEEP
        self.base = <char**> calloc(self.ranks, sizeof(char*))
        self.rung = <double*> calloc(self.ranks, sizeof(double))
        self.bells = <uint64_t*> calloc(self.ranks, sizeof(uint64_t))
        self.host_comm = comm.Split(hosts[self.rank], self.rank)
        try:
            # Memory of this rank's own first: who has none would leave the others of its host waiting.
            found = {}
            try:
                self.near, self.far = self.words_of(), self.words_of()
                if self.base is NULL or self.rung is NULL or self.bells is NULL:
                    raise MemoryError("RemoteWindow: no memory for the table of ranks")
            except Exception as error:
                found = error
            agree(comm, "RemoteWindow", found)
            found = {}
            try:
                self.host_window = SharedWindow(self.host_comm, nbytes - words, 0)
            except Exception as error:
                found = error
            agree(comm, "RemoteWindow", found)
        except Exception:
            if self.host_window is not None:
                self.host_window.free()
            self.host_comm.Free()
            raise
        other = 0
        for r in range(self.ranks):
            if hosts[r] == hosts[self.rank]:
                self.base[r] = self.host_window.base[other]
                other += 1
        self.opened = True
        info = MPI.Info.Create()
        info.Set("same_size", "true")
        info.Set("same_disp_unit", "true")
        # Open MPI: one operation of the network for each, and no lock that a rank could be stopped with.
        info.Set("acc_single_intrinsic", "true")
        # One line more, for the bell.
        self.words_window = MPI.Win.Allocate(words + LINE, 1, info, comm)
        info.Free()
        bulk = MPI.memory.fromaddress(<uintptr_t> self.base[self.rank], nbytes - words)
        self.bulk_window = MPI.Win.Create(bulk, 1, MPI.INFO_NULL, comm)
        self.words_handle = handle_of(self.words_window)
        self.bulk_handle = handle_of(self.bulk_window)
        self.near.win = self.far.win = self.words_handle
        self.byte_type = handle_of(MPI.BYTE)
        # NOCHECK, after the collective allocation: without it MPI would wait for every target.
        self.words_window.Lock_all(MPI.MODE_NOCHECK)
        self.bulk_window.Lock_all(MPI.MODE_NOCHECK)
        memset(<void*> <uintptr_t> self.words_window.tomemory().address, 0, words + LINE)
        self.finalize_hook = FinalizeHook(self.bulk_window, self.words_window)
        self.write_fence()
        comm.Barrier()
        try:
            self.choose_progress(progress)
        except Exception:
            self.free()
            raise
        comm.Barrier()

    def choose_progress(self, str progress):
        """Start the thread that helps, if it is needed. Collective."""
        cdef uint64_t* bell = <uint64_t*> <uintptr_t> (self.words_window.tomemory().address + self.words)
        if progress != "auto":
            self.progress, self.why = progress, "as asked for"
        elif max(self.hosts) == 0:
            self.progress, self.why = "none", "all ranks share a host"
        elif self.needs_help():
            self.progress, self.why = "thread", "an operation on a rank that computes waits for it"
        else:
            self.progress, self.why = "none", "an operation on a rank that computes does not wait for it"
        if self.progress == "none":
            return
        self.thread_comm = self.comm.Dup()
        found = {}
        self.thread = wagma_progress_start(handle_of(self.thread_comm), self.far, bell)
        if self.thread is NULL:
            found = RuntimeError("RemoteWindow: the operating system gives no thread for progress; raise its limit "
                                 "(ulimit -u), or use a network that needs none and progress='none'")
        self.finalize_hook.state.thread = self.thread
        agree(self.comm, "RemoteWindow", found)

    cdef wagma_words* words_of(self) except NULL:
        """Return room for operations on words."""
        cdef wagma_words* words = wagma_words_make(self.ranks, 2 * OPERATIONS)
        if words is NULL:
            raise MemoryError("RemoteWindow: no memory for operations in flight")
        words.rma = RMA
        words.type = handle_of(MPI.UINT64_T)
        words.add, words.max = handle_of(MPI.SUM), handle_of(MPI.MAX)
        words.replace, words.nothing = handle_of(MPI.REPLACE), handle_of(MPI.NO_OP)
        words.by_swap = abi() == "openmpi"
        return words

    cdef bint needs_help(self) except -1:
        """Say whether an operation on a rank waits until that rank calls MPI, for any two ranks. Collective."""
        cdef uint64_t unused
        cdef const void* bytes
        cdef int phase, target
        cdef bint waited = False
        cdef double started
        self.prepare_reads(1, LINE)
        for phase in range(2):
            asleep = [rank for rank in range(self.ranks) if self.hosts[rank] % 2 == phase]
            target = asleep[self.rank % len(asleep)]
            # Once before, since a first operation may have to make a connection. Twice then, since a target that is
            # late to leave the barrier would still help.
            for nap in (0.0, NAP, NAP):
                self.comm.Barrier()
                if self.rank in asleep:
                    wagma_sleep(nap)
                else:
                    started = self.waiter.now()
                    wagma_sleep(nap / 3)
                    self.load(target, 0, 1, &unused)
                    self.complete()
                    self.read(0, 0, target, self.words, min(LINE, self.nbytes - self.words), &bytes)
                    self.complete_reads(0)
                    waited = waited or (nap > 0 and self.waiter.now() - started > 2 * nap / 3)
        return self.comm.allreduce(waited, MPI.LOR)

    def __dealloc__(self):
        if self.opened:
            return  # MPI and the thread still use all this; it ends with the process
        free(self.base)
        free(self.rung)
        free(self.bells)
        wagma_words_free(self.near)
        wagma_words_free(self.far)
        free(self.scratch)
        free(self.requests)

    def free(self):
        """Free the memory. Collective; no rank may use any window afterwards."""
        if not self.opened:
            return
        # Others may still need this rank's help to end their last operations.
        self.comm.Barrier()
        self.finalize_hook.end()
        self.opened = False
        self.words_window = self.bulk_window = None
        if self.thread is not NULL:
            wagma_progress_free(self.thread)
            self.thread = NULL
            self.thread_comm.Free()
        self.host_window.free()
        self.host_comm.Free()

    cdef int check(self, int error, const char* operation, int rank) except -1 nogil:
        """Raise what MPI says went wrong."""
        if error == 0:
            return 0
        with gil:
            self.drop()
            failure = MPI.Exception(error)
            failure.add_note(f"RemoteWindow: {operation.decode()} by rank {self.rank} on the memory of rank {rank}")
            raise failure

    cdef int give_up(self) except -1 nogil:
        """Raise what has interrupted a wait if the rank that should answer has been silent since."""
        if not self.waiter.interrupted:
            self.given_up = 0
        elif self.given_up == 0:
            self.given_up = self.waiter.now() + GRACE
        elif self.waiter.now() > self.given_up:
            self.given_up = 0
            self.drop()
            with gil:
                self.waiter.raise_interruption()
        return 0

    cdef void drop(self) noexcept nogil:
        """Forget the operations that have been begun; those that the thread is making give nobody their results."""
        cdef int i
        self.near.count = 0
        if not self.operating:
            self.far.count = 0
        for i in range(self.far.count):
            self.far.operations[i].found = NULL

    # Words.

    cdef wagma_operation* begin(self, int verb, int rank, int64_t word, uint64_t operand,
                                uint64_t* found) except NULL nogil:
        """Begin an operation on a word, which complete() makes."""
        cdef wagma_words* words = self.near if self.thread is NULL or self.base[rank] is not NULL else self.far
        cdef wagma_operation* operation
        if words.count >= OPERATIONS:
            self.complete()
        if words is self.far:
            if self.operating:
                self.wait_for_thread()  # with what an interruption has left
            if self.waiter.slept < LONG_SLEEP:
                self.ring(rank)
        operation = &words.operations[words.count]
        words.count += 1
        operation.verb, operation.rank, operation.word = verb, rank, word
        operation.operand, operation.found = operand, found
        operation.result = WAGMA_UNANSWERED
        return operation

    cdef int ring(self, int rank) except -1 nogil:
        """Tell the thread of a far rank that it is needed; others need not be told.

        Nobody waits for a bell: while this rank's thread waits in MPI for one that is stopped, MPI may lock this rank
        out of its own calls.
        """
        cdef double now = self.waiter.now()
        cdef wagma_operation* operation
        cdef int error
        if now - self.rung[rank] < RING_EVERY:
            return 0
        if not self.far.by_swap:
            if wagma_load(&self.bells[rank]) == WAGMA_UNANSWERED:
                return 0
            self.rung[rank] = now
            self.bells[rank] = WAGMA_UNANSWERED
            self.rang = True
            error = RMA.fetch_and_op(&ONCE, &self.bells[rank], self.far.type, rank, self.words, self.far.add,
                                     self.words_handle)
            if error:
                self.bells[rank] = 0
            return self.check(error, "an operation on a word", rank)
        # A compare-and-swap waits, so the thread makes it. One place is left for the operation that it is needed for.
        if self.operating or self.far.count >= OPERATIONS - 1:
            return 0
        self.rung[rank] = now
        operation = &self.far.operations[self.far.count]
        self.far.count += 1
        operation.verb, operation.rank, operation.word = WAGMA_ADD, rank, self.words
        operation.operand, operation.found = 1, NULL
        operation.result = WAGMA_UNANSWERED
        return 0

    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil:
        cdef int i
        for i in range(count):
            self.begin(WAGMA_LOAD, rank, word + 8 * i, 0, &values[i])
        return 0

    cdef int store(self, int rank, int64_t word, uint64_t value) except -1 nogil:
        self.begin(WAGMA_STORE, rank, word, value, NULL)
        return 0

    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil:
        self.begin(WAGMA_ADD, rank, word, addend, found)
        return 0

    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil:
        self.begin(WAGMA_MAX, rank, word, value, found)
        return 0

    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil:
        self.begin(WAGMA_SWAP, rank, word, desired, found).expected = expected
        return 0

    cdef bint in_flight(self) noexcept nogil:
        """Say whether a rank of another host has still to answer what completing an operation here would wait for."""
        cdef int r
        if self.far.count or (self.reading and not self.far.by_swap):
            return True
        if self.rang:
            for r in range(self.ranks):
                if wagma_load(&self.bells[r]) == WAGMA_UNANSWERED:
                    return True
            self.rang = False
        return False

    cdef int awaited(self) noexcept nogil:
        """Return the rank that the thread waits for: the first that has not answered."""
        cdef int i, rank = wagma_words_awaited(self.far)
        if rank >= 0:
            return rank
        for i in range(self.ranks):
            if self.rang and wagma_load(&self.bells[i]) == WAGMA_UNANSWERED:
                return i
        for i in range(self.lanes * self.sources * self.pieces):
            if self.requests[i].active:
                return self.requests[i].rank
        return self.far.waits_for

    cdef int complete(self) except -1 nogil:
        cdef int error
        if self.near.count and self.thread is not NULL:
            # Who asks MPI to complete an operation waits for others that are in flight, to whatever rank: with Open MPI
            # those on words, with MPICH over ofi all, and that lets no other thread in meanwhile.
            if self.operating:
                self.wait_for_thread()  # with a bell, or what an interruption has left
            if self.in_flight():
                memcpy(&self.far.operations[self.far.count], self.near.operations,
                       self.near.count * sizeof(wagma_operation))
                self.far.count += self.near.count
                self.near.count = 0
        if self.far.count and not self.operating:
            self.operating = True
            self.ringing = False
            self.far.nap = WAGMA_LONGEST_NAP if self.waiter.slept >= LONG_SLEEP else 0
            wagma_progress_operate(self.thread)
        if self.near.count:
            error = wagma_words_operate(self.near)  # before waits_for is looked at
            self.check(error, "an operation on a word", self.near.waits_for)
            wagma_words_give(self.near)
        if self.operating and not self.ringing:
            self.wait_for_thread()
        self.waiter.slept = 0
        return 0

    cdef int wait_for_thread(self) except -1 nogil:
        """Wait until the thread has made the operations on words of other hosts."""
        cdef double started = self.waiter.now()
        cdef int error
        while not wagma_progress_wait(self.thread, LOOK_EVERY, &error):
            self.waiter.look(self.waiter.now() - started, self.awaited())
            self.give_up()
        self.operating = False
        self.given_up = 0
        self.check(error, "an operation on a word", self.far.waits_for)
        wagma_words_give(self.far)
        return 0

    # Bulk memory.

    cdef char* own(self, int64_t offset) noexcept nogil:
        return self.base[self.rank] + offset - self.words

    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil:
        return 0

    cdef bint is_near(self, int rank) noexcept nogil:
        return self.base[rank] is not NULL

    cdef int prepare_reads(self, int sources, int64_t nbytes) except -1:
        self.sources = sources
        self.source_bytes = (nbytes + LINE - 1) // LINE * LINE
        self.piece_bytes = OPENMPI_PIECE if abi() == "openmpi" else max(1, nbytes)
        self.pieces = <int> ((nbytes + self.piece_bytes - 1) // self.piece_bytes)
        free(self.scratch)
        free(self.requests)
        self.scratch = <char*> calloc(max(1, self.lanes * sources * self.source_bytes), 1)
        self.requests = <Request*> calloc(max(1, self.lanes * sources * self.pieces), sizeof(Request))
        if self.scratch is NULL or self.requests is NULL:
            raise MemoryError(f"RemoteWindow: no memory for {self.lanes * sources * nbytes} bytes of reads in flight")
        return 0

    cdef int read(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                  const void** bytes) except -1 nogil:
        cdef int place = lane * self.sources + source, i
        cdef int64_t begin = 0, count
        cdef Request* request
        if self.base[rank] is not NULL:
            bytes[0] = self.base[rank] + offset - self.words
            return 0
        bytes[0] = self.scratch + place * self.source_bytes
        if self.thread is not NULL and nbytes > 0:
            self.ring(rank)
        for i in range(self.pieces):
            request = &self.requests[place * self.pieces + i]
            self.complete_read(request)  # one that an interruption has left
            count = min(self.piece_bytes, nbytes - begin)
            if count <= 0:
                continue
            request.rank = rank
            self.check(RMA.get(<char*> bytes[0] + begin, <int> count, self.byte_type, rank, offset - self.words + begin,
                               self.bulk_handle, &request.handle), "MPI_Rget", rank)
            request.active = True
            self.reading += 1
            begin += count
        self.send_bells()
        return 0

    cdef int complete_reads(self, int lane) except -1 nogil:
        cdef int i
        for i in range(lane * self.sources * self.pieces, (lane + 1) * self.sources * self.pieces):
            self.complete_read(&self.requests[i])
        return 0

    cdef int complete_read(self, Request* request) except -1 nogil:
        cdef Wait wait
        cdef int done = 0
        if not request.active:
            return 0
        wait = self.waiter.begin(0)
        wait.rank = request.rank
        wait.longest = SHORT_NAP
        while True:
            self.check(RMA.test(&request.handle, &done), "MPI_Rget", request.rank)
            if done:
                request.active = False
                self.reading -= 1
                self.given_up = 0
                return 0
            if self.thread is not NULL:
                self.ring(request.rank)  # again: a long read is many messages
            self.send_bells()
            if self.waiter.now() - wait.since > LOOK_EVERY:
                wait.longest = LONG_WAIT_NAP
            self.waiter.pause(&wait)
            self.give_up()

    cdef int send_bells(self) except -1 nogil:
        """Have the thread ring bells that it waits for, and take note of what it has made."""
        cdef int i, error
        if not self.far.by_swap:
            return 0
        if self.far.count and not self.operating:
            self.ringing = True
            for i in range(self.far.count):
                self.ringing = self.ringing and self.far.operations[i].word == self.words
            self.operating = True
            wagma_progress_operate(self.thread)
        elif self.operating and wagma_progress_wait(self.thread, 0, &error):
            self.wait_for_thread()
        return 0

    # Fences.

    cdef int write_fence(self) except -1 nogil:
        if self.near.count or self.far.count:
            self.complete()
        wagma_fence()
        self.check(RMA.sync(self.bulk_handle), "MPI_Win_sync", self.rank)
        return self.check(RMA.sync(self.words_handle), "MPI_Win_sync", self.rank)

    cdef int read_fence(self) except -1 nogil:
        wagma_fence()
        return self.check(RMA.sync(self.bulk_handle), "MPI_Win_sync", self.rank)
