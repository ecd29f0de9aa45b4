"""Atomics and fences on memory that several processes map; see atomics.h."""

from libc.stdint cimport uint64_t

cdef extern from "wagma_rma/kernels/atomics.h" nogil:
    uint64_t wagma_load(void* word)
    uint64_t wagma_fetch_add(void* word, uint64_t addend)
    uint64_t wagma_fetch_max(void* word, uint64_t value)
    uint64_t wagma_compare_and_swap(void* word, uint64_t expected, uint64_t desired)
    void wagma_fence()
    void wagma_store_relaxed(void* word, uint64_t value)
    void wagma_store_release(void* word, uint64_t value)
    void wagma_release_fence()
