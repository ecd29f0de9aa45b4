/* The kernels of kernels.h, in portable C that compilers vectorise, one set a dtype. */
#include "kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The 16-bit conversions use integers and normal floats only, so that they give the same bits on a thread
 * that flushes subnormals to zero (XLA's threads do). */

static inline float bits_to_float(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t float_to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float widen_f16(uint16_t h) {
    uint32_t magnitude = h & 0x7fffu, sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t normal = (magnitude << 13) + (112u << 23);
    uint32_t special = (magnitude << 13) | 0x7f800000u;
    /* A subnormal half is a normal float once the implicit bit is taken off again. */
    uint32_t tiny = float_to_bits(bits_to_float((magnitude << 13) + (113u << 23)) - bits_to_float(113u << 23));
    uint32_t value = magnitude >= 0x7c00u ? special : magnitude < 0x0400u ? tiny : normal;
    return bits_to_float(value | sign);
}

static inline uint16_t narrow_f16(float f) {
    uint32_t u = float_to_bits(f), sign = u & 0x80000000u, magnitude = u ^ sign;
    const uint32_t denormal = 126u << 23; /* adding it aligns a subnormal half's last bit with the float's */
    uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    uint32_t tiny = float_to_bits(bits_to_float(magnitude) + bits_to_float(denormal)) - denormal;
    uint32_t normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    uint32_t value = magnitude >= (143u << 23) ? special : magnitude < (113u << 23) ? tiny : normal;
    return (uint16_t)(value | sign >> 16);
}

static inline float widen_bf16(uint16_t h) {
    return bits_to_float((uint32_t)h << 16);
}

static inline uint16_t narrow_bf16(float f) {
    uint32_t u = float_to_bits(f);
    uint32_t nan = (u >> 16) | 0x40u;
    uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

#define SAME(x) (x)

/* Summing block by block keeps the partial sums in the first-level cache. */
#define BLOCK 1024

/* A division by a power of two and a product with its inverse are the same rounding of the same number,
 * and the product is several times faster. */
static int inverse_is_exact(double divisor) {
    int exponent;
    return frexp(divisor, &exponent) == 0.5;
}

#define KERNELS(NAME, TYPE, SUM, WIDEN, NARROW)                                                        \
    static void sum_##NAME(SUM *sum, const TYPE *const *sources, int n, size_t count) {                \
        for (size_t begin = 0; begin < count; begin += BLOCK) {                                        \
            size_t end = begin + BLOCK < count ? begin + BLOCK : count;                                \
            const TYPE *a = sources[0];                                                                \
            if (n == 1) {                                                                              \
                for (size_t i = begin; i < end; i++) sum[i] = WIDEN(a[i]);                             \
                continue;                                                                              \
            }                                                                                          \
            const TYPE *b = sources[1];                                                                \
            for (size_t i = begin; i < end; i++) sum[i] = WIDEN(a[i]) + WIDEN(b[i]);                   \
            for (int k = 2; k < n; k++) {                                                              \
                const TYPE *c = sources[k];                                                            \
                for (size_t i = begin; i < end; i++) sum[i] += WIDEN(c[i]);                            \
            }                                                                                          \
        }                                                                                              \
    }                                                                                                  \
    static void scale_##NAME(TYPE *out, const SUM *sum, SUM divisor, size_t count) {                   \
        if (inverse_is_exact((double)divisor)) {                                                       \
            SUM inverse = (SUM)1 / divisor;                                                            \
            for (size_t i = 0; i < count; i++) out[i] = NARROW(sum[i] * inverse);                      \
        } else {                                                                                       \
            for (size_t i = 0; i < count; i++) out[i] = NARROW(sum[i] / divisor);                      \
        }                                                                                              \
    }                                                                                                  \
    static void mix_##NAME(TYPE *out, const SUM *sum, const TYPE *own, SUM divisor, size_t count) {    \
        if (inverse_is_exact((double)divisor)) {                                                       \
            SUM inverse = (SUM)1 / divisor;                                                            \
            for (size_t i = 0; i < count; i++) out[i] = NARROW((sum[i] + WIDEN(own[i])) * inverse);    \
        } else {                                                                                       \
            for (size_t i = 0; i < count; i++) out[i] = NARROW((sum[i] + WIDEN(own[i])) / divisor);    \
        }                                                                                              \
    }

KERNELS(f64, double, double, SAME, SAME)
KERNELS(f32, float, float, SAME, SAME)
KERNELS(f16, uint16_t, float, widen_f16, narrow_f16)
KERNELS(bf16, uint16_t, float, widen_bf16, narrow_bf16)

void wagma_sum(int kind, void *sum, const void *const *sources, int n, size_t count) {
    switch (kind) {
    case WAGMA_F64: sum_f64(sum, (const double *const *)sources, n, count); break;
    case WAGMA_F32: sum_f32(sum, (const float *const *)sources, n, count); break;
    case WAGMA_F16: sum_f16(sum, (const uint16_t *const *)sources, n, count); break;
    case WAGMA_BF16: sum_bf16(sum, (const uint16_t *const *)sources, n, count); break;
    }
}

void wagma_scale(int kind, void *out, const void *sum, double divisor, size_t count) {
    switch (kind) {
    case WAGMA_F64: scale_f64(out, sum, divisor, count); break;
    case WAGMA_F32: scale_f32(out, sum, (float)divisor, count); break;
    case WAGMA_F16: scale_f16(out, sum, (float)divisor, count); break;
    case WAGMA_BF16: scale_bf16(out, sum, (float)divisor, count); break;
    }
}

void wagma_mix(int kind, void *out, const void *sum, const void *own, double divisor, size_t count) {
    switch (kind) {
    case WAGMA_F64: mix_f64(out, sum, own, divisor, count); break;
    case WAGMA_F32: mix_f32(out, sum, own, (float)divisor, count); break;
    case WAGMA_F16: mix_f16(out, sum, own, (float)divisor, count); break;
    case WAGMA_BF16: mix_bf16(out, sum, own, (float)divisor, count); break;
    }
}
