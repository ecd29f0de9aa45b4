"""Ends open windows and a progress thread before MPI_Finalize does its work.

Some MPIs fail in MPI_Finalize when a window is still open, and no thread may call MPI during it. A program may end
without close(). Then:

1. Python's atexit stops all progress threads.
2. MPI_Finalize deletes the attributes of MPI_COMM_SELF before it does anything else, the newest attribute first, as the
   standard says. A hook is such an attribute: its deletion ends the windows.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free
from wagma_rma.mpi.rma cimport wagma_progress_stop

import atexit
import os

from mpi4py import MPI

from wagma_rma.mpi.abi import rma_table

RMA = <const wagma_rma*> PyCapsule_GetPointer(rma_table(), "wagma_rma.mpi.rma")


cdef wagma_handle handle_of(object mpi_object) except? -1:
    """Return the handle of an mpi4py object, as a number."""
    return <wagma_handle> <uintptr_t> MPI._handleof(mpi_object)


cdef bint lacks_process = False  # MPI_Finalize would wait for ever for a process that has ended
cdef wagma_handle world = handle_of(MPI.COMM_WORLD)
cdef bint forked = False  # this process is a fork of the one whose windows and threads these are

# The hooks that have not ended. They are kept here because a window may be collected while its thread runs.
cdef set hooks = set()


@atexit.register
def stop_threads():
    """Stop all progress threads. From then on MPI_Finalize serves the other ranks."""
    cdef FinalizeHook hook
    for hook in hooks:
        if hook.state is not NULL and hook.state.thread is not NULL:
            wagma_progress_stop(hook.state.thread, 1)


def forget():
    """Leave windows and threads alone in a child of the process that has made them."""
    global forked
    forked = True
    hooks.clear()


os.register_at_fork(after_in_child=forget)


def abort_in_finalize():
    """Have MPI_Finalize end the job with exit code 1, since a process that it would wait for has ended."""
    global lacks_process
    lacks_process = True


cdef int end_all(void* pointer) noexcept nogil:
    """End the thread and the windows of a hook: the C function that the attribute's deletion calls."""
    cdef State* state = <State*> pointer
    cdef int i, error
    if forked:
        return 1  # ends MPICH's MPI_Finalize in the child, or it would cut the parent off from its launcher
    if lacks_process:
        RMA.abort(world, 1)
    if state.thread is not NULL:
        wagma_progress_stop(state.thread, -1)
    for i in range(state.count):
        error = RMA.end(state.windows[i])
        state.error = state.error or error
    return 0  # for any other value MPI would keep the attribute, and call this again


cdef class FinalizeHook:
    """Ends windows and a progress thread, in MPI_Finalize or at end(), whichever comes first.

    Args:
        windows: mpi4py windows, locked with lock_all, in the order in which they end; at most two.

    Local; ending is collective.
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
        """End the thread and the windows now. Collective."""
        hooks.discard(self)
        error = RMA.unhook(handle_of(MPI.COMM_SELF), &self.keyval) or self.state.error
        free(self.state)
        self.state = NULL
        if error:
            raise MPI.Exception(error)
        return 0
