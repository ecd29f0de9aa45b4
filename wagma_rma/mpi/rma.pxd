"""The C side of this layer: the table of MPI's functions (rma.h), batches of operations (operations.h), the progress
thread (progress.h)."""

from libc.stdint cimport int64_t, intptr_t, uint64_t

cdef extern from "wagma_rma/mpi/rma.h" nogil:
    ctypedef intptr_t wagma_handle
    cdef struct wagma_rma:
        int (*fetch_and_op)(const uint64_t*, uint64_t*, wagma_handle, int, int64_t, wagma_handle,
                            wagma_handle) noexcept nogil
        int (*compare_and_swap)(const uint64_t*, const uint64_t*, uint64_t*, wagma_handle, int, int64_t,
                                wagma_handle) noexcept nogil
        int (*flush)(int, wagma_handle) noexcept nogil
        int (*get)(void*, int, wagma_handle, int, int64_t, wagma_handle, wagma_handle*) noexcept nogil
        int (*test)(wagma_handle*, int*) noexcept nogil
        int (*sync)(wagma_handle) noexcept nogil
        int (*poll)(wagma_handle) noexcept nogil
        int (*end)(wagma_handle) noexcept nogil
        int (*at_finalize)(int (*)(void*) noexcept nogil, void*, wagma_handle, int*) noexcept nogil
        int (*unhook)(wagma_handle, int*) noexcept nogil
        int (*abort)(wagma_handle, int) noexcept nogil

cdef extern from "wagma_rma/mpi/operations.h" nogil:
    enum wagma_verb:
        WAGMA_LOAD
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
    cdef struct wagma_batch:
        const wagma_rma* rma
        wagma_handle win, type, no_op, sum, max
        int by_swap
        int count, capacity
        double delay
        wagma_operation* operations
        int waits_for
    const uint64_t WAGMA_UNANSWERED
    wagma_batch* wagma_batch_new(int ranks, int capacity)
    void wagma_batch_free(wagma_batch* b)
    wagma_operation* wagma_batch_add(wagma_batch* b, int verb, int rank, int64_t word, uint64_t operand,
                                     uint64_t* found)
    void wagma_batch_move(wagma_batch* to, wagma_batch* source)
    int wagma_batch_perform(wagma_batch* b)
    int wagma_batch_unanswered(const wagma_batch* b)
    void wagma_batch_return_results(wagma_batch* b)

cdef extern from "wagma_rma/mpi/progress.h" nogil:
    const double WAGMA_LONGEST_SLEEP
    cdef struct wagma_progress:
        pass
    wagma_progress* wagma_progress_start(wagma_handle comm, wagma_batch* batch, uint64_t* bell)
    void wagma_progress_perform(wagma_progress* p)
    int wagma_progress_wait(wagma_progress* p, double seconds, int* error)
    void wagma_progress_stop(wagma_progress* p, double seconds)
    void wagma_progress_free(wagma_progress* p)
