"""Ends open windows and a progress thread before MPI_Finalize does its work."""

from wagma_rma.mpi.rma cimport wagma_handle, wagma_progress, wagma_rma

cdef const wagma_rma* RMA  # the functions of the running MPI

cdef enum:
    MOST_WINDOWS = 2  # of a hook

cdef struct State:
    wagma_progress* thread          # or NULL
    wagma_handle[MOST_WINDOWS] windows
    int count                       # of windows
    int error                       # of MPI, when the windows ended

cdef class FinalizeHook:
    cdef State* state   # stays when this object is collected: MPI_Finalize may still need it
    cdef int keyval     # of the attribute

    cdef int end(self) except -1

cdef wagma_handle handle_of(object mpi_object) except? -1
