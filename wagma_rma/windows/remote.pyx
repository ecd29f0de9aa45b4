"""A window of many hosts: MPI's one-sided operations.

There are two windows of MPI below it, each open for access from beginning to end (one passive-target epoch):

- Words lie in a window that MPI allocates over all ranks. They are touched by MPI's atomics only, on this host too,
  since an MPI's atomics are not atomic against C's. Each word knows one type of change beside the atomic load, as the
  standard asks for. ``remote_words`` has the operations.
- Bulk memory lies in shared memory, where the ranks of a host read it in place. A second window of MPI over the same
  memory lets the ranks of other hosts read it: ``remote_reads``.

Over a network on which an operation waits for its target to call MPI, each rank has a progress thread (mpi/progress.h),
which ranks of other hosts tell that it is needed by ringing the rank's bell (``bells``). Whether the network is one of
these is measured (``progress_choice``).
"""

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from wagma_rma.kernels.atomics cimport wagma_fence
from wagma_rma.kernels.memory cimport LINE
from wagma_rma.mpi.finalize_hook cimport RMA, FinalizeHook, handle_of
from wagma_rma.mpi.rma cimport WAGMA_ADD, WAGMA_LOAD, WAGMA_MAX, WAGMA_SWAP
from wagma_rma.windows.looks cimport Looks
from wagma_rma.windows.mapped cimport looked_at
from wagma_rma.windows.remote_reads cimport RemoteReads
from wagma_rma.windows.remote_words cimport RemoteWords
from wagma_rma.windows.shared cimport SharedWindow, take

from mpi4py import MPI

from wagma_rma.mpi.agreement import agree
from wagma_rma.windows.progress_choice import choose_progress
from wagma_rma.windows.shared import SHARED_MEMORY, free_shared_memory

cdef enum:
    LANES = 4  # two reads in flight hide a round trip, the other two uneven chunks

# Seconds that a chunk may need on a slow network whose connections are not open yet. Another rank that sums the chunk
# again needs as long. It helps only if the stopped rank is on this host: over the network its memory can't be read.
cdef double LEAST_TAKE_OVER = 250e-3
# For the waiter: seldom polls, since each costs a round trip to a progress thread that may be asleep.
cdef double LATENESS = 0.12
cdef double LONGEST_SLEEP = 50e-3


cdef class RemoteWindow(Window):
    """A window over hosts.

    Args:
        comm: the ranks; it must live as long as the window.
        hosts: the host of each rank (wagma_rma.mpi.hosts.host_numbers).
        nbytes: the size of each rank's window, the same at every rank.
        words_bytes: how many of the first bytes hold words; they begin as zero.
        progress: "thread": this rank has a thread that serves operations on its memory while it computes.
            "none": it has none. "auto": it has one if the network needs it, which is measured in a quarter of a
            second.

    Raises:
        MemoryError: a host has less shared memory free than its ranks need. On every rank.
        RuntimeError: the operating system refuses a thread. On every rank.
        mpi4py.MPI.Exception: MPI reports an error, here or in any verb; a note names the operation.

    Collective, and so is free(). Verbs wait until the ranks that they operate on answer: for a round trip of the
    network, or for as long as a process is stopped or its network is down. The watcher is called meanwhile.
    """

    def __init__(self, comm, tuple hosts, int64_t nbytes, int64_t words_bytes, str progress="auto"):
        self.comm = comm
        self.hosts = hosts
        self.rank = comm.Get_rank()
        self.ranks = comm.Get_size()
        self.nbytes = nbytes
        self.words_bytes = words_bytes
        self.lanes = LANES
        if max(hosts):
            self.least_take_over = LEAST_TAKE_OVER
            self.waiter.lateness = LATENESS
            self.waiter.longest_sleep = LONGEST_SLEEP
        self.allocate()
        self.open()
        try:
            agree(comm, "RemoteWindow", {} if self.has_memory else MemoryError(
                f"RemoteWindow: no memory for {words_bytes} bytes of words at rank {self.rank}, {SHARED_MEMORY} has "
                f"{free_shared_memory()} free; enlarge it (docker: --shm-size), "
                "use a smaller model, or run fewer ranks on this host"))
            self.progress, self.why = choose_progress(self, comm, hosts, words_bytes, progress)
            if self.progress == "thread":
                self.start_thread()
        except Exception:
            self.free()
            raise
        comm.Barrier()

    def allocate(self):
        """Allocate all memory but the words: this rank's own, and the bulk memory of its host. Collective."""
        cdef int r, place = 0
        self.host_comm = self.comm.Split(self.hosts[self.rank], self.rank)
        try:
            # This rank's own first: a rank that fails in the next step would leave the others of its host waiting.
            found = {}
            try:
                self.words = RemoteWords(self.rank, self.ranks, self.waiter)
                self.reads = RemoteReads(self.words, self.lanes)
                self.looks = Looks(self.words)
                self.base = <char**> calloc(self.ranks, sizeof(char*))
                if self.base is NULL:
                    raise MemoryError("RemoteWindow: no memory for the table of ranks")
            except Exception as error:
                found = error
            agree(self.comm, "RemoteWindow", found)
            found = {}
            try:
                self.host_window = SharedWindow(self.host_comm, self.nbytes - self.words_bytes)
            except Exception as error:
                found = error
            agree(self.comm, "RemoteWindow", found)
        except Exception:
            if self.words is not None:
                self.words.release()
            if self.host_window is not None:
                self.host_window.free()
            self.host_comm.Free()
            raise
        for r in range(self.ranks):
            if self.hosts[r] == self.hosts[self.rank]:
                self.base[r] = self.host_window.base[place]
                place += 1

    def open(self):
        """Open both windows of MPI for access, with words that are zero. Collective."""
        self.opened = True
        info = MPI.Info.Create()
        info.Set("same_size", "true")
        info.Set("same_disp_unit", "true")
        # Open MPI: each operation is one of the network's, without a lock that a stopped rank could hold.
        info.Set("acc_single_intrinsic", "true")
        self.words_window = MPI.Win.Allocate(self.words_bytes + LINE, 1, info, self.comm)
        info.Free()
        bulk = MPI.memory.fromaddress(<uintptr_t> self.base[self.rank], self.nbytes - self.words_bytes)
        self.bulk_window = MPI.Win.Create(bulk, 1, MPI.INFO_NULL, self.comm)
        self.words_handle = handle_of(self.words_window)
        self.bulk_handle = handle_of(self.bulk_window)
        self.words.open(self.words_handle, self.words_bytes)
        self.reads.window = self.looks.window = self.bulk_handle
        # NOCHECK, after the collective allocation: without it MPI would wait for every target.
        self.words_window.Lock_all(MPI.MODE_NOCHECK)
        self.bulk_window.Lock_all(MPI.MODE_NOCHECK)
        self.has_memory = take(<void*> <uintptr_t> self.words_window.tomemory().address, self.words_bytes + LINE)
        self.finalize_hook = FinalizeHook(self.bulk_window, self.words_window)
        self.write_fence()
        self.comm.Barrier()

    def start_thread(self):
        """Start this rank's progress thread. Collective."""
        cdef uint64_t* bell = <uint64_t*> <uintptr_t> (self.words_window.tomemory().address + self.words_bytes)
        self.thread_comm = self.comm.Dup()
        found = {}
        if not self.words.start_thread(self.hosts, handle_of(self.thread_comm), bell):
            found = RuntimeError("RemoteWindow: the operating system gives no thread for progress; raise its limit "
                                 "(ulimit -u), or use a network that needs none and progress='none'")
        self.finalize_hook.state.thread = self.words.thread
        agree(self.comm, "RemoteWindow", found)

    @property
    def freed(self):
        """Whether free() has been called."""
        return not self.opened

    def free(self):
        """Free the memory. Collective; no rank may use any window afterwards."""
        if not self.opened:
            return
        self.looks.end()
        # Other ranks may still need this rank's thread, to complete their last operations.
        self.comm.Barrier()
        self.finalize_hook.end()
        self.opened = False
        self.words_window = self.bulk_window = None
        self.words.release()
        self.reads.release()
        if self.thread_comm is not None:
            self.thread_comm.Free()
        self.host_window.free()
        self.host_comm.Free()

    def __dealloc__(self):
        # If the window was never freed, MPI and the thread still use the memory of `words` and `reads`. It is kept.
        free(self.base)

    # Words.

    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil:
        cdef int i
        for i in range(count):
            self.words.begin(WAGMA_LOAD, rank, word + 8 * i, 0, &values[i])
        return 0

    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil:
        self.words.begin(WAGMA_ADD, rank, word, addend, found)
        return 0

    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil:
        self.words.begin(WAGMA_MAX, rank, word, value, found)
        return 0

    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil:
        self.words.begin(WAGMA_SWAP, rank, word, desired, found).expected = expected
        return 0

    cdef int complete(self) except -1 nogil:
        return self.words.complete()

    # Bulk memory.

    cdef char* own(self, int64_t offset) noexcept nogil:
        return self.base[self.rank] + offset - self.words_bytes

    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil:
        return 0

    cdef bint is_near(self, int rank) noexcept nogil:
        return self.base[rank] is not NULL

    cdef int prepare_reads(self, int sources, int64_t nbytes) except -1:
        return self.reads.prepare(sources, nbytes)

    cdef int read(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                  const void** bytes) except -1 nogil:
        if self.base[rank] is not NULL:
            bytes[0] = self.base[rank] + offset - self.words_bytes
            return 0
        return self.reads.begin(lane, source, rank, offset - self.words_bytes, nbytes, bytes)

    cdef int complete_reads(self, int lane) except -1 nogil:
        return self.reads.complete(lane)

    def look(self, list ranks, int64_t offset, int nbytes, double seconds):
        """Return a range of each of some ranks' bulk memory; None for a rank of another host that does not answer.

        By any thread, at any time; the memory must not be given back meanwhile.

        Args:
            offset, nbytes: multiples of 8, and the same in all calls.
            seconds: to wait for ranks of other hosts, at most.
        """
        far = [rank for rank in ranks if self.base[rank] is NULL]
        answers = dict(zip(far, self.looks.look(far, offset - self.words_bytes, nbytes, seconds)))
        return [answers[rank] if self.base[rank] is NULL
                else looked_at(self.base[rank] + offset - self.words_bytes, nbytes) for rank in ranks]

    def stop_looks(self):
        """Wait for no look at a rank of another host any more. Local."""
        self.looks.stop()

    # Fences.

    cdef int write_fence(self) except -1 nogil:
        if self.words.have_begun():
            self.words.complete()
        wagma_fence()
        self.words.check(RMA.sync(self.bulk_handle), "MPI_Win_sync", self.rank)
        return self.words.check(RMA.sync(self.words_handle), "MPI_Win_sync", self.rank)

    cdef int read_fence(self) except -1 nogil:
        wagma_fence()
        return self.words.check(RMA.sync(self.bulk_handle), "MPI_Win_sync", self.rank)
