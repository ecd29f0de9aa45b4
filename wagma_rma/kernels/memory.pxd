"""Sizes that memory is divided into, and memory in pages of its own; see memory.h."""

cdef extern from "wagma_rma/kernels/memory.h" nogil:
    enum:
        LINE "WAGMA_LINE"  # of a cache
        PAGE "WAGMA_PAGE"  # that the operating system maps
    char* wagma_map(size_t nbytes)
    void wagma_unmap(char* memory, size_t nbytes)
