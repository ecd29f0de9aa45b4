"""The memory of one host as a window: an MPI shared window, mapped by every rank."""

from wagma_rma.mpi.finalize_hook cimport FinalizeHook
from wagma_rma.windows.mapped cimport MappedWindow

cdef class SharedWindow(MappedWindow):
    cdef object comm
    cdef object window
    cdef FinalizeHook finalize_hook  # of it
