"""A window of one host: an MPI shared window, which every rank maps."""

from libc.stdint cimport int64_t
from wagma_rma.mpi.finalize_hook cimport FinalizeHook
from wagma_rma.windows.mapped cimport MappedWindow

cdef bint take(void* address, int64_t nbytes) except -1

cdef class SharedWindow(MappedWindow):
    cdef object comm
    cdef object window               # of mpi4py; None once it is freed
    cdef FinalizeHook finalize_hook  # ends the window
