"""A window of one host: an MPI shared window, which every rank maps."""

from wagma_rma.mpi.finalize_hook cimport FinalizeHook
from wagma_rma.windows.mapped cimport MappedWindow

cdef class SharedWindow(MappedWindow):
    cdef object comm
    cdef object window               # of mpi4py; None once it is freed
    cdef FinalizeHook finalize_hook  # ends the window
