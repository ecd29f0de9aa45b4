"""The memory of one host as a window: an MPI shared window, mapped by every rank."""

from wagma_rma.ending cimport Ending
from wagma_rma.mapped_window cimport MappedWindow

cdef class SharedWindow(MappedWindow):
    cdef object comm
    cdef object window
    cdef Ending ending  # of it
