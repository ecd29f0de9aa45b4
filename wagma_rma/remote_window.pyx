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
from libc.string cimport memset
from wagma_rma.ending cimport RMA, Ending, handle_of
from wagma_rma.rma cimport (wagma_progress_flush, wagma_progress_free, wagma_progress_start, wagma_progress_wait)
from wagma_rma.shared_window cimport SharedWindow
from wagma_rma.window cimport Wait

from mpi4py import MPI

from wagma_rma.agreement import agree

cdef extern from "atomics.h" nogil:
    void wagma_fence()
    int wagma_sleep(double seconds)

cdef enum:
    LINE = 64          # bytes of a cache line
    OPERATIONS = 1024  # in flight at a time; one more waits for all
    READ_LANES = 4     # batches of bulk reads: two in flight hide a round trip, the others uneven chunks

cdef double LOOK_EVERY = 50e-3
cdef double RING_EVERY = 300e-6  # a bell rung less often would let its thread fall into naps of a tenth of that
# After an interruption a step is still to be finished, unless a rank is not there to answer.
cdef double GRACE = 1.0
# The test for help: targets sleep for NAP seconds; who operates on them begins after a third, and has been
# helped, or is late itself, if that takes as long.
cdef double NAP = 60e-3


cdef class RemoteWindow(Window):
    """A window over hosts.

    Args:
        comm: the ranks; it must live as long as the window.
        hosts: the host of each rank (wagma_rma.hosts.host_numbers).
        nbytes: the size of each rank's window, the same at every rank.
        words: how many of the first bytes hold words; they begin as zero.
        progress: "thread": this rank has a thread that serves operations on its memory while it computes.
            "none": the network does without. "auto": measured, in about an eighth of a second.

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
        self.rma = RMA
        self.base = <char**> calloc(self.ranks, sizeof(char*))
        self.rung = <double*> calloc(self.ranks, sizeof(double))
        self.operations = <Operation*> calloc(OPERATIONS, sizeof(Operation))
        self.touched = <char*> calloc(self.ranks, 1)
        self.near_targets = <int*> calloc(self.ranks, sizeof(int))
        self.far_targets = <int*> calloc(self.ranks, sizeof(int))
        self.host_comm = comm.Split(hosts[self.rank], self.rank)
        found = {}
        try:
            if (self.base is NULL or self.rung is NULL or self.operations is NULL or self.touched is NULL
                    or self.near_targets is NULL or self.far_targets is NULL):
                raise MemoryError("RemoteWindow: no memory for the tables of ranks and operations")
            self.host_window = SharedWindow(self.host_comm, nbytes - words, 0)
        except Exception as error:
            found = error
        try:
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
        info = MPI.Info.Create()
        info.Set("same_size", "true")
        info.Set("same_disp_unit", "true")
        # One line more, for the bell.
        self.words_window = MPI.Win.Allocate(words + LINE, 1, info, comm)
        info.Free()
        bulk = MPI.memory.fromaddress(<uintptr_t> self.base[self.rank], nbytes - words)
        self.bulk_window = MPI.Win.Create(bulk, 1, MPI.INFO_NULL, comm)
        self.words_handle = handle_of(self.words_window)
        self.bulk_handle = handle_of(self.bulk_window)
        self.word_type, self.byte_type = handle_of(MPI.UINT64_T), handle_of(MPI.BYTE)
        self.add, self.maximum = handle_of(MPI.SUM), handle_of(MPI.MAX)
        self.replace, self.nothing = handle_of(MPI.REPLACE), handle_of(MPI.NO_OP)
        # NOCHECK, after the collective allocation: without it MPI would wait for every target.
        self.words_window.Lock_all(MPI.MODE_NOCHECK)
        self.bulk_window.Lock_all(MPI.MODE_NOCHECK)
        memset(<void*> <uintptr_t> self.words_window.tomemory().address, 0, words + LINE)
        self.ending = Ending(self.bulk_window, self.words_window)
        self.write_fence()
        comm.Barrier()
        self.choose_progress(progress)
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
        self.thread = wagma_progress_start(self.rma, handle_of(self.thread_comm), self.words_handle, bell)
        if self.thread is NULL:
            found = RuntimeError("RemoteWindow: the operating system gives no thread for progress; raise its limit "
                                 "(ulimit -u), or use a network that needs none and progress='none'")
        self.ending.state.thread = self.thread
        agree(self.comm, "RemoteWindow", found)

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
            # Once before, since a first operation may have to make a connection.
            for nap in (0.0, NAP):
                self.comm.Barrier()
                if self.rank in asleep:
                    wagma_sleep(nap)
                else:
                    wagma_sleep(nap / 3)
                    started = self.now()
                    self.load(target, 0, 1, &unused)
                    self.complete()
                    self.read(0, 0, target, self.words, min(LINE, self.nbytes - self.words), &bytes)
                    self.complete_reads(0)
                    waited = waited or (nap > 0 and self.now() - started > nap / 3)
        return self.comm.allreduce(waited, MPI.LOR)

    def __dealloc__(self):
        if self.words_window is not None:
            return  # MPI may still use all this; it ends with the process
        free(self.base)
        free(self.rung)
        free(self.operations)
        free(self.touched)
        free(self.near_targets)
        free(self.far_targets)
        free(self.scratch)
        free(self.requests)

    def free(self):
        """Free the memory. Collective; no rank may use any window afterwards."""
        if self.words_window is None:
            return
        # Others may still need this rank's help to end their last operations.
        self.comm.Barrier()
        self.ending.end()
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
            failure = MPI.Exception(error)
            failure.add_note(f"RemoteWindow: {operation.decode()} by rank {self.rank} on the memory of rank {rank}")
            raise failure

    cdef int give_up(self) except -1 nogil:
        """Raise what has interrupted a wait if the rank that should answer still does not."""
        cdef int i
        if not self.interrupted:
            self.given_up = 0
        elif self.given_up == 0:
            self.given_up = self.now() + GRACE
        elif self.now() > self.given_up:
            # The operations are still to be made, and the places for what they find are no longer anyone's.
            for i in range(self.operation_count):
                self.operations[i].found = NULL
            with gil:
                self.raise_interruption()
        return 0

    # Words.

    cdef Operation* begin(self, int rank, uint64_t* found) except NULL nogil:
        """Return room for an operation on a word of a rank, which complete() will wait for."""
        cdef Operation* operation
        if self.operation_count == OPERATIONS:
            self.complete()
        self.touch(rank)
        operation = &self.operations[self.operation_count]
        self.operation_count += 1
        operation.found = found
        return operation

    cdef int touch(self, int rank) except -1 nogil:
        """Have the next complete() flush a rank, and if it is far tell its thread that it is needed."""
        cdef double now
        cdef Operation* operation
        if self.thread is NULL or self.base[rank] is not NULL:
            if not self.touched[rank]:
                self.touched[rank] = True
                self.near_targets[self.near_count] = rank
                self.near_count += 1
            return 0
        if self.flushing:
            self.flush_far()  # one that an interruption has left
        if not self.touched[rank]:
            self.touched[rank] = True
            self.far_targets[self.far_count] = rank
            self.far_count += 1
        now = self.now()
        if now - self.rung[rank] > RING_EVERY and self.operation_count < OPERATIONS - 1:
            self.rung[rank] = now
            operation = &self.operations[self.operation_count]
            self.operation_count += 1
            operation.found = NULL
            operation.operand = 1
            self.check(self.rma.fetch_and_op(&operation.operand, &operation.result, self.word_type, rank, self.words,
                                             self.add, self.words_handle), "MPI_Fetch_and_op", rank)
        return 0

    cdef int fetch_and_op(self, int rank, int64_t word, uint64_t operand, wagma_handle op,
                          uint64_t* found) except -1 nogil:
        cdef Operation* operation = self.begin(rank, found)
        operation.operand = operand
        return self.check(self.rma.fetch_and_op(&operation.operand, &operation.result, self.word_type, rank, word,
                                                op, self.words_handle), "MPI_Fetch_and_op", rank)

    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil:
        cdef int i
        for i in range(count):
            self.fetch_and_op(rank, word + 8 * i, 0, self.nothing, &values[i])
        return 0

    cdef int store(self, int rank, int64_t word, uint64_t value) except -1 nogil:
        return self.fetch_and_op(rank, word, value, self.replace, NULL)

    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil:
        return self.fetch_and_op(rank, word, addend, self.add, found)

    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil:
        return self.fetch_and_op(rank, word, value, self.maximum, found)

    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil:
        cdef Operation* operation = self.begin(rank, found)
        operation.operand = desired
        operation.expected = expected
        return self.check(self.rma.compare_and_swap(&operation.operand, &operation.expected, &operation.result,
                                                    self.word_type, rank, word, self.words_handle),
                          "MPI_Compare_and_swap", rank)

    cdef int complete(self) except -1 nogil:
        cdef int i
        if self.far_count and not self.flushing:
            self.flushing = self.far_count
            wagma_progress_flush(self.thread, self.far_targets, self.far_count)
        for i in range(self.near_count):
            self.check(self.rma.flush(self.near_targets[i], self.words_handle), "MPI_Win_flush", self.near_targets[i])
            self.touched[self.near_targets[i]] = False
        self.near_count = 0
        if self.flushing:
            self.flush_far()
        for i in range(self.operation_count):
            if self.operations[i].found is not NULL:
                self.operations[i].found[0] = self.operations[i].result
        self.operation_count = 0
        return 0

    cdef int flush_far(self) except -1 nogil:
        """Wait until the thread has flushed."""
        cdef double started = self.now()
        cdef int done, error, i
        while True:
            done = wagma_progress_wait(self.thread, LOOK_EVERY, &error)
            if done == self.flushing:
                break
            self.look(self.now() - started, self.far_targets[done])
            self.give_up()
        for i in range(self.far_count):
            self.touched[self.far_targets[i]] = False
        self.far_count = self.flushing = 0
        return self.check(error, "MPI_Win_flush", self.far_targets[0])

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
        free(self.scratch)
        free(self.requests)
        self.scratch = <char*> calloc(max(1, self.lanes * sources * self.source_bytes), 1)
        self.requests = <Request*> calloc(self.lanes * sources, sizeof(Request))
        if self.scratch is NULL or self.requests is NULL:
            raise MemoryError(f"RemoteWindow: no memory for {self.lanes * sources * nbytes} bytes of reads in flight")
        return 0

    cdef int read(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                  const void** bytes) except -1 nogil:
        cdef int place = lane * self.sources + source
        cdef Request* request = &self.requests[place]
        if self.base[rank] is not NULL:
            bytes[0] = self.base[rank] + offset - self.words
            return 0
        self.complete_read(request)  # one that an interruption has left
        bytes[0] = self.scratch + place * self.source_bytes
        if nbytes == 0:
            return 0
        self.touch(rank)
        request.rank = rank
        self.check(self.rma.get(<void*> bytes[0], <int> nbytes, self.byte_type, rank, offset - self.words,
                                self.bulk_handle, &request.handle), "MPI_Rget", rank)
        request.active = True
        return 0

    cdef int complete_reads(self, int lane) except -1 nogil:
        cdef int i
        for i in range(lane * self.sources, (lane + 1) * self.sources):
            self.complete_read(&self.requests[i])
        return 0

    cdef int complete_read(self, Request* request) except -1 nogil:
        cdef Wait wait
        cdef int done = 0
        if not request.active:
            return 0
        wait = self.wait(0)
        wait.rank = request.rank
        while True:
            self.check(self.rma.test(&request.handle, &done), "MPI_Rget", request.rank)
            if done:
                request.active = False
                return 0
            self.pause(&wait)
            self.give_up()

    # Fences.

    cdef int write_fence(self) except -1 nogil:
        if self.operation_count:
            self.complete()
        wagma_fence()
        self.check(self.rma.sync(self.bulk_handle), "MPI_Win_sync", self.rank)
        return self.check(self.rma.sync(self.words_handle), "MPI_Win_sync", self.rank)

    cdef int read_fence(self) except -1 nogil:
        wagma_fence()
        return self.check(self.rma.sync(self.bulk_handle), "MPI_Win_sync", self.rank)
