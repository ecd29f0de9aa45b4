"""Which writes bypass the caches, by the size of the model (measured: benchmarks/README.md).

Other cores read snapshots and sums next, and get them from memory sooner than from this core's caches. The caller
reads the output itself, perhaps at once, so there a write past the caches pays only if they could keep little of it. An
output in place has just been read, as the model: a write into the caches costs almost nothing as long as the last cache
holds it beside what else a step moves.
"""

cdef extern from *:
    """
    #include <unistd.h>

    static long wagma_last_cache(void) {
    #ifdef _SC_LEVEL3_CACHE_SIZE
        return sysconf(_SC_LEVEL3_CACHE_SIZE);
    #else
        return 0;
    #endif
    }
    """
    long wagma_last_cache()  # bytes of this core's last cache; 0 or less where the system does not tell

# Bytes of a model from which on a write bypasses the caches.
WINDOW = 256 * 1024
OUTPUT = 6 * 1024 * 1024
IN_PLACE = max(OUTPUT, wagma_last_cache() // 8)


cdef class Streaming:
    """The choice for models of one size. Local: ranks on other machines may choose differently, with the same bits.

    Args:
        model_bytes: the size of the model.
    """

    def __init__(self, int64_t model_bytes):
        self.window = model_bytes >= WINDOW
        self.output = model_bytes >= OUTPUT
        self.in_place = model_bytes >= IN_PLACE
