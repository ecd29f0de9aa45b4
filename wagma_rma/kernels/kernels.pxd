"""Arithmetic on chunks; see kernels.h."""

cdef extern from "wagma_rma/kernels/kernels.h" nogil:
    enum:
        WAGMA_F64
        WAGMA_F32
        WAGMA_DTYPES
    struct wagma_output:
        void* out
        const void* own
        const void* before
        double divisor
        int stream
    void wagma_copy(void* to, const void* source, size_t nbytes, int stream)
    void wagma_sum(int dtype, void* sum, const void* const* sources, int n, size_t count, int stream,
                   const wagma_output* output)
    struct wagma_moved:
        void* to
        void* also
        const void* model
        const void* difference
        int stream, stream_also
    void wagma_move(int dtype, const wagma_moved* moved, size_t count)
    void wagma_average(int dtype, const void* sum, size_t count, const wagma_output* output)
