"""The functions of MPI that wagma_rma calls by itself, batches of operations, and the thread that makes them."""

from libc.stdint cimport int64_t, intptr_t, uint64_t

cdef extern from "wagma_rma/mpi/rma.h" nogil:
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

cdef extern from "wagma_rma/mpi/operations.h" nogil:
    enum wagma_verb:
        WAGMA_LOAD
        WAGMA_STORE
        WAGMA_ADD
        WAGMA_MAX
        WAGMA_SWAP
    cdef struct wagma_operation:
        int verb
        int rank
        int64_t word
        uint64_t operand
        uint64_t expected
        uint64_t result
        uint64_t* found
    cdef struct wagma_words:
        const wagma_rma* rma
        wagma_handle win, type, add, max, replace, nothing
        int by_swap
        int count, room
        double nap
        wagma_operation* operations
        int waits_for
    const uint64_t WAGMA_UNANSWERED
    wagma_words* wagma_words_make(int ranks, int room)
    void wagma_words_free(wagma_words* w)
    int wagma_words_operate(wagma_words* w)
    int wagma_words_awaited(const wagma_words* w)
    void wagma_words_give(wagma_words* w)

cdef extern from "wagma_rma/mpi/progress.h" nogil:
    const double WAGMA_LONGEST_NAP
    cdef struct wagma_progress:
        pass
    wagma_progress* wagma_progress_start(wagma_handle comm, wagma_words* words, uint64_t* bell)
    void wagma_progress_operate(wagma_progress* p)
    int wagma_progress_wait(wagma_progress* p, double seconds, int* error)
    void wagma_progress_stop(wagma_progress* p, double seconds)
    void wagma_progress_free(wagma_progress* p)
