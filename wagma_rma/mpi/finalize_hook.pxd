"""What must end before MPI does."""

from wagma_rma.mpi.rma cimport wagma_handle, wagma_progress, wagma_rma

cdef const wagma_rma* RMA  # of the running MPI

cdef enum:
    MOST = 2  # windows

cdef struct State:
    wagma_progress* thread
    wagma_handle[MOST] windows
    int count
    int error  # of MPI, when they ended

cdef class FinalizeHook:
    cdef State* state   # outlives this object if MPI is to end it
    cdef int keyval     # of the hook

    cdef int end(self) except -1

cdef wagma_handle handle_of(object thing) except? -1
