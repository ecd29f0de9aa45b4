/* Arithmetic on chunks: what is summed, scaled and mixed, in every dtype.
 *
 * An element has a kind (its dtype in a model) and is summed in its accumulator: float for the 16-bit
 * kinds and for float32, double for float64. All kernels run element by element in a fixed order, so the
 * same sources give the same bits whoever computes them, on whatever CPU. Nothing here knows ranks, windows or
 * steps. With `stream` what is written bypasses the caches, for memory that is not read again before other data has
 * taken its place there; it is written when the function returns.
 */
#ifndef WAGMA_KERNELS_H
#define WAGMA_KERNELS_H

#include <stddef.h>

enum wagma_kind { WAGMA_F64 = 0, WAGMA_F32 = 1, WAGMA_F16 = 2, WAGMA_BF16 = 3 };

/* Where an average goes: out[i] = sum[i] / divisor, or (sum[i] + own[i]) / divisor where a LATE rank's own model is mixed
 * in; rounded once to the accumulator and once to the kind of `out` and `own`. */
struct wagma_output {
    void *out;
    const void *own; /* or NULL */
    double divisor;
    int stream;
};

/* sum[i] = ((sources[0][i] + sources[1][i]) + ...), n >= 1 sources of `kind`, into accumulators; and the average of that,
 * unless `output` is NULL. The output may be one of the sources. */
void wagma_sum(int kind, void *sum, const void *const *sources, int n, size_t count, int stream,
               const struct wagma_output *output);

/* The average alone, of sums that are there. */
void wagma_average(int kind, const void *sum, size_t count, const struct wagma_output *output);

/* Copy memory. */
void wagma_copy(void *to, const void *from, size_t nbytes, int stream);

/* Use the instructions of a kind of CPU, or of the best below it that this one has, and return which: for tests. From
 * the beginning it is the best. */
enum wagma_cpu { WAGMA_ANY, WAGMA_AVX2, WAGMA_AVX512 };
int wagma_use(int cpu);

#endif
