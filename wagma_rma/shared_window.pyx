"""The memory of one host as a window: an MPI shared window and C11 atomics straight on it.

MPI allocates and frees; in between nothing here calls it, so no operation depends on anyone's progress.
"""

from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from wagma_rma.window cimport Window

import os

from mpi4py import MPI

cdef extern from "atomics.h" nogil:
    uint64_t wagma_load(void* word)
    void wagma_store(void* word, uint64_t value)
    uint64_t wagma_fetch_add(void* word, uint64_t addend)
    uint64_t wagma_fetch_max(void* word, uint64_t value)
    uint64_t wagma_compare_and_swap(void* word, uint64_t expected, uint64_t desired)
    void wagma_fence()

cdef enum:
    LINE = 64  # bytes of a cache line
    # What MPIs take beside the memory asked for: rounding to pages, and state of their own. Open MPI also
    # insists on a twentieth more than it takes.
    PER_RANK = 8192
    PER_WINDOW = 65536
SHARED_MEMORY = "/dev/shm"


def free_shared_memory():
    """Return the bytes that are free where both MPIs put shared windows, or None if that can't be told."""
    try:
        room = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return room.f_bavail * room.f_frsize


cdef class SharedWindow(Window):
    """A window in the shared memory of one host.

    Args:
        comm: a communicator whose ranks all run on this host; it must live as long as the window.
        nbytes: the size of each rank's window, the same at every rank.
        words: how many of the first bytes hold words; they begin as zero.

    Raises:
        MemoryError: less shared memory is free than all windows need, on every rank.
    Collective, and so is free().
    """
    cdef object comm
    cdef object window
    cdef char** base  # each rank's window in this process's addresses

    def __cinit__(self, comm, int64_t nbytes, int64_t words):
        cdef int r
        self.comm = comm
        self.rank = comm.Get_rank()
        self.ranks = comm.Get_size()
        self.nbytes = nbytes
        self.lanes = 1
        self.base = <char**> calloc(self.ranks, sizeof(char*))
        if self.base is NULL:
            raise MemoryError("SharedWindow: no memory for the table of ranks")
        # Some MPIs reserve only and die of SIGBUS when the memory is touched, so ask first. Rank 0's answer
        # counts: each would see a different moment.
        needed = (self.ranks * (nbytes + PER_RANK) + PER_WINDOW) * 21 // 20
        room = comm.bcast(free_shared_memory())
        if room is not None and needed > room:
            raise MemoryError(
                f"SharedWindow: {self.ranks} ranks need {needed} bytes of shared memory ({nbytes} each), but "
                f"{SHARED_MEMORY} has {room} free; enlarge it (docker: --shm-size), use a smaller model, "
                f"or run fewer ranks on this host")
        info = MPI.Info.Create()
        info.Set("alloc_shared_noncontig", "true")
        self.window = MPI.Win.Allocate_shared(nbytes + LINE, 1, info, comm)
        info.Free()
        # NOCHECK, after the collective allocation: without it MPI would wait for every target.
        self.window.Lock_all(MPI.MODE_NOCHECK)
        for r in range(self.ranks):
            # Mappings begin at a page, so aligning in this process aligns alike in all.
            address = self.window.Shared_query(r)[0].address
            self.base[r] = <char*> <uintptr_t> ((address + LINE - 1) // LINE * LINE)
        memset(self.base[self.rank], 0, words)
        wagma_fence()
        comm.Barrier()

    def __dealloc__(self):
        free(self.base)

    def free(self):
        """Free the memory. Collective; no rank may use any window afterwards."""
        window, self.window = self.window, None
        if window is not None:
            window.Unlock_all()
            window.Free()

    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil:
        cdef int i
        for i in range(count):
            values[i] = wagma_load(self.base[rank] + word + 8 * i)
        return 0

    cdef int store(self, int rank, int64_t word, uint64_t value) except -1 nogil:
        wagma_store(self.base[rank] + word, value)
        return 0

    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil:
        found[0] = wagma_fetch_add(self.base[rank] + word, addend)
        return 0

    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil:
        found[0] = wagma_fetch_max(self.base[rank] + word, value)
        return 0

    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil:
        found[0] = wagma_compare_and_swap(self.base[rank] + word, expected, desired)
        return 0

    cdef int complete(self) except -1 nogil:
        return 0

    cdef char* own(self, int64_t offset) noexcept nogil:
        return self.base[self.rank] + offset

    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil:
        return 0

    cdef int read(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                  const void** bytes) except -1 nogil:
        bytes[0] = self.base[rank] + offset
        return 0

    cdef int complete_reads(self, int lane) except -1 nogil:
        return 0

    cdef int prepare_reads(self, int sources, int64_t nbytes) except -1:
        return 0

    cdef int write_fence(self) except -1 nogil:
        wagma_fence()
        return 0

    cdef int read_fence(self) except -1 nogil:
        wagma_fence()
        return 0
