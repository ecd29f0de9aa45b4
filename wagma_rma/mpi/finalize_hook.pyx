"""What must end before MPI does: a thread that calls it, and open windows.

Some MPIs fail in MPI_Finalize when a window is left open, and no thread may call MPI during it. A program that ends
without close() ends its threads as Python's atexit comes, and the windows by an attribute of MPI_COMM_SELF, as the
standard provides: it is deleted first thing in MPI_Finalize, the newest first.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free
from wagma_rma.mpi.rma cimport wagma_progress_stop

import atexit

from mpi4py import MPI

from wagma_rma.mpi.abi import rma_table

RMA = <const wagma_rma*> PyCapsule_GetPointer(rma_table(), "wagma_rma.mpi.rma")


cdef wagma_handle handle_of(object thing) except? -1:
    """Return an mpi4py handle as a number."""
    return <wagma_handle> <uintptr_t> MPI._handleof(thing)


# Those that have not ended. An averager may be collected as garbage, its thread goes on.
cdef set hooks = set()


@atexit.register
def stop_threads():
    """Stop all threads that call MPI. MPI_Finalize helps other ranks from then on."""
    cdef FinalizeHook hook
    for hook in hooks:
        if hook.state is not NULL and hook.state.thread is not NULL:
            wagma_progress_stop(hook.state.thread, 1)


cdef int end_all(void* pointer) noexcept nogil:
    cdef State* state = <State*> pointer
    cdef int i, error
    if state.thread is not NULL:
        wagma_progress_stop(state.thread, -1)
    for i in range(state.count):
        error = RMA.end(state.windows[i])
        state.error = state.error or error
    return 0  # or MPI would keep the attribute, and call this again


cdef class FinalizeHook:
    """Ends windows and a thread when MPI does, or before.

    Args:
        windows: mpi4py windows, open since lock_all, in the order in which they end.
    """

    def __init__(self, *windows):
        self.state = <State*> calloc(1, sizeof(State))
        if self.state is NULL:
            raise MemoryError("FinalizeHook: no memory")
        for window in windows:
            self.state.windows[self.state.count] = handle_of(window)
            self.state.count += 1
        error = RMA.at_finalize(end_all, self.state, handle_of(MPI.COMM_SELF), &self.keyval)
        if error:
            raise MPI.Exception(error)
        hooks.add(self)

    cdef int end(self) except -1:
        """End all of it now. Collective."""
        hooks.discard(self)
        error = RMA.unhook(handle_of(MPI.COMM_SELF), &self.keyval) or self.state.error
        free(self.state)
        self.state = NULL
        if error:
            raise MPI.Exception(error)
        return 0
