"""A window of one host: an MPI shared window, which every rank maps.

MPI allocates and frees the memory. No verb calls MPI, so no operation waits for another rank to call it.
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uintptr_t
from posix.unistd cimport read
from wagma_rma.kernels.atomics cimport wagma_fence
from wagma_rma.kernels.memory cimport LINE
from wagma_rma.mpi.finalize_hook cimport FinalizeHook
from wagma_rma.windows.mapped cimport MappedWindow

import os

from mpi4py import MPI

cdef enum:
    # Bytes that MPIs allocate beside the windows: rounding to pages, and state of their own. Open MPI also insists that
    # a twentieth more is free than it allocates.
    PER_RANK = 8192
    PER_WINDOW = 65536
SHARED_MEMORY = "/dev/shm"


def free_shared_memory():
    """Return the bytes that are free where both MPIs allocate shared windows, or None if they can't be told. Local."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


cdef bint take(void* address, int64_t nbytes) except -1:
    """Have the system give the memory of a range that may only be reserved, as zeros; return whether it could.

    The system writes the zeros, as a read from a file of zeros: if there is no memory, the read fails. A write by the
    process itself would end it by SIGBUS.
    """
    cdef char* begin = <char*> address
    cdef int64_t done = 0
    cdef ssize_t count
    cdef int file = os.open("/dev/zero", os.O_RDONLY)
    with nogil:
        while done < nbytes:
            count = read(file, begin + done, nbytes - done)
            if count > 0:
                done += count
            elif count == 0 or errno != EINTR:
                break
    os.close(file)
    return done == nbytes


cdef class SharedWindow(MappedWindow):
    """A window in the shared memory of one host.

    Args:
        comm: a communicator whose ranks all run on this host; it must live as long as the window.
        nbytes: the size of each rank's window, the same at every rank; it begins as zeros.

    Raises (on every rank):
        MemoryError: less shared memory is free than all windows need.

    All memory is taken here, so none is missing later. Collective, and so is free().
    """

    def __init__(self, comm, int64_t nbytes):
        cdef int r
        self.comm = comm
        self.set_ranks(comm.Get_rank(), comm.Get_size(), nbytes)
        # All ranks use the answer of rank 0, since the free memory changes between their questions.
        needed = (self.ranks * (nbytes + PER_RANK) + PER_WINDOW) * 21 // 20
        available = comm.bcast(free_shared_memory())
        if available is not None and needed > available:
            raise self.too_little(nbytes, needed, available)
        info = MPI.Info.Create()
        info.Set("alloc_shared_noncontig", "true")
        self.window = MPI.Win.Allocate_shared(nbytes + LINE, 1, info, comm)
        info.Free()
        # NOCHECK, after the collective allocation: without it MPI would wait for every target.
        self.window.Lock_all(MPI.MODE_NOCHECK)
        self.finalize_hook = FinalizeHook(self.window)
        for r in range(self.ranks):
            # Mappings begin at a page in each process, so the same offset is aligned in all of them.
            address = self.window.Shared_query(r)[0].address
            self.base[r] = <char*> <uintptr_t> ((address + LINE - 1) // LINE * LINE)
        # Some MPIs only reserve memory, and other programs may take what was free: it is taken now, as zeros.
        taken = take(self.base[self.rank], nbytes)
        wagma_fence()
        # After this every rank finds zeros, or what a verb has changed them to.
        if not comm.allreduce(taken, MPI.LAND):
            available = comm.bcast(free_shared_memory())
            self.free()
            raise self.too_little(nbytes, needed, available)

    def too_little(self, int64_t nbytes, needed, available):
        """Return the error that tells how much shared memory is needed, and how much is free."""
        return MemoryError(
            f"SharedWindow: {self.ranks} ranks need {needed} bytes of shared memory ({nbytes} each), but "
            f"{SHARED_MEMORY} has {available} free; enlarge it (docker: --shm-size), use a smaller model, "
            f"or run fewer ranks on this host")

    @property
    def freed(self):
        """Whether free() has been called."""
        return self.window is None

    def free(self):
        """Free the memory. Collective; no rank may use any window afterwards."""
        window, self.window = self.window, None
        if window is not None:
            self.finalize_hook.end()
