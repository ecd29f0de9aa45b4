"""Arithmetic on chunks; see kernels.h."""

cdef extern from "kernels.h" nogil:
    void wagma_copy(void* to, const void* source, size_t nbytes, int stream)
    void wagma_sum(int kind, void* sum, const void* const* sources, int n, size_t count)
    void wagma_scale(int kind, void* out, const void* sum, double divisor, size_t count, int stream)
    void wagma_mix(int kind, void* out, const void* sum, const void* own, double divisor, size_t count, int stream)
