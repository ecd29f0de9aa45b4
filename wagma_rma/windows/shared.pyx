"""The memory of one host as a window: an MPI shared window, mapped by every rank.

MPI allocates and frees; in between nothing here calls it, so no operation depends on anyone's progress.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memset
from wagma_rma.mpi.finalize_hook cimport FinalizeHook
from wagma_rma.windows.mapped cimport MappedWindow

import os

from mpi4py import MPI

cdef extern from "wagma_rma/kernels/atomics.h" nogil:
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


cdef class SharedWindow(MappedWindow):
    """A window in the shared memory of one host.

    Args:
        comm: a communicator whose ranks all run on this host; it must live as long as the window.
        nbytes: the size of each rank's window, the same at every rank.
        words: how many of the first bytes hold words; they begin as zero.

    Raises:
        MemoryError: less shared memory is free than all windows need, on every rank.
    Collective, and so is free().
    """

    def __init__(self, comm, int64_t nbytes, int64_t words):
        cdef int r
        self.comm = comm
        self.share(comm.Get_rank(), comm.Get_size(), nbytes)
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
        self.finalize_hook = FinalizeHook(self.window)
        for r in range(self.ranks):
            # Mappings begin at a page, so aligning in this process aligns alike in all.
            address = self.window.Shared_query(r)[0].address
            self.base[r] = <char*> <uintptr_t> ((address + LINE - 1) // LINE * LINE)
        # Pairs with the barrier: whoever is through it finds zeros, or what a verb has made of them.
        memset(self.base[self.rank], 0, words)
        wagma_fence()
        comm.Barrier()

    def free(self):
        """Free the memory. Collective; no rank may use any window afterwards."""
        window, self.window = self.window, None
        if window is not None:
            self.finalize_hook.end()
