"""Sizes that memory is divided into, bytes; see memory.h."""

cdef extern from "wagma_rma/kernels/memory.h" nogil:
    enum:
        LINE "WAGMA_LINE"  # of a cache
        PAGE "WAGMA_PAGE"  # that the operating system maps
