/* Arithmetic on chunks, in every dtype: sums, averages, and copies.
 *
 * Sums are float for the 16-bit dtypes and for float32, double for float64. All kernels run element by element in a
 * fixed order, so the same sources give the same bits on every rank and every CPU. Nothing here knows ranks, windows
 * or steps. With `stream` the writes bypass the caches: for memory that is not read again before other data has
 * replaced it there. The writes are complete when the function returns.
 */
#ifndef WAGMA_KERNELS_H
#define WAGMA_KERNELS_H

#include <stddef.h>

/* The number of a dtype: its place in kernels/dtypes.py. */
enum wagma_dtype { WAGMA_F64 = 0, WAGMA_F32 = 1, WAGMA_F16 = 2, WAGMA_BF16 = 3, WAGMA_DTYPES = 4 };

/* Where an average goes: out[i] = sum[i] / divisor, or (sum[i] + own[i]) / divisor where a LATE rank's own model is mixed
 * in; rounded once to the type of the sums and once to the dtype of `out` and `own`. With `before` the difference to that
 * model goes there: out[i] = average[i] - before[i], in the type of the sums. */
struct wagma_output {
    void *out;
    const void *own;    /* or NULL */
    const void *before; /* or NULL */
    double divisor;
    int stream;
};

/* sum[i] = ((sources[0][i] + sources[1][i]) + ...), n >= 1 sources of `dtype`; and the average of the sum, unless `output`
 * is NULL. The output may be one of the sources. */
void wagma_sum(int dtype, void *sum, const void *const *sources, int n, size_t count, int stream,
               const struct wagma_output *output);

/* The average alone, of a sum that is there. */
void wagma_average(int dtype, const void *sum, size_t count, const struct wagma_output *output);

/* A model that is moved: to[i] = model[i] + difference[i], added in the type of the sums, which `difference` has. The result
 * is written to `also` too, unless that is NULL; either may be the model. */
struct wagma_moved {
    void *to, *also;
    const void *model, *difference;
    int stream, stream_also;
};
void wagma_move(int dtype, const struct wagma_moved *moved, size_t count);

/* Copy memory. */
void wagma_copy(void *to, const void *from, size_t nbytes, int stream);

/* For tests: use the instructions of a CPU, or of the best below it that this CPU has, and return which. At first the
 * best are used. */
enum wagma_cpu { WAGMA_ANY, WAGMA_AVX2, WAGMA_AVX512 };
int wagma_use(int cpu);

#endif
