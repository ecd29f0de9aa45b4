"""The functions of MPI that wagma_rma calls by itself (rma.h), and the thread that calls them (progress.h)."""

from libc.stdint cimport int64_t, intptr_t, uint64_t

cdef extern from "rma.h" nogil:
    ctypedef intptr_t wagma_handle
    cdef struct wagma_rma:
        int (*fetch_and_op)(const uint64_t*, uint64_t*, wagma_handle, int, int64_t, wagma_handle, wagma_handle) noexcept nogil
        int (*compare_and_swap)(const uint64_t*, const uint64_t*, uint64_t*, wagma_handle, int, int64_t, wagma_handle) noexcept nogil
        int (*flush)(int, wagma_handle) noexcept nogil
        int (*get)(void*, int, wagma_handle, int, int64_t, wagma_handle, wagma_handle*) noexcept nogil
        int (*test)(wagma_handle*, int*) noexcept nogil
        int (*sync)(wagma_handle) noexcept nogil
        int (*poll)(wagma_handle) noexcept nogil
        int (*end)(wagma_handle) noexcept nogil
        int (*at_finalize)(int (*)(void*) noexcept nogil, void*, wagma_handle, int*) noexcept nogil
        int (*unhook)(wagma_handle, int*) noexcept nogil

cdef extern from "progress.h" nogil:
    cdef struct wagma_progress:
        pass
    wagma_progress* wagma_progress_start(const wagma_rma* rma, wagma_handle comm, wagma_handle win, uint64_t* bell)
    void wagma_progress_flush(wagma_progress* p, const int* targets, int count)
    int wagma_progress_wait(wagma_progress* p, double seconds, int* error)
    void wagma_progress_stop(void* p)
    void wagma_progress_free(wagma_progress* p)
