/* The kernels of kernels.h, in portable C that compilers vectorise: one set for each dtype and kind of CPU. */
#include "kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) /* which does not see streamed stores */
#define X86
#include <immintrin.h>
#ifndef __SANITIZE_ADDRESS__ /* gcc's AddressSanitizer does not align 64 bytes on the stack (PR 110027) */
#define AVX512
#endif
#endif

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

/* Elements that are summed at a time: their sums and averages are written while the next elements are being read. They
 * fill whole lines of a cache in each dtype, and their sums fill the registers of an AVX2. */
#define UNIT(SUM) (256 / sizeof(SUM))

/* Bytes ahead at which reads are begun: a hardware prefetcher stops at each page, and is slow to start on the next. */
#define AHEAD 2048
#define FETCH(from, count)                                                                                         \
    for (size_t line = 0; line < (count) * sizeof *(from); line += 64)                                             \
    __builtin_prefetch((const char *)(from) + AHEAD + line)

#define INLINE static inline __attribute__((always_inline))

/* Return how many elements of `width` bytes lie before the next line of a cache, or `count` if that is fewer. */
INLINE size_t to_line(const void *from, size_t width, size_t count) {
    size_t elements = (-(uintptr_t)from & 63) / width;
    return elements < count ? elements : count;
}

/* A division by a power of two and a product with its inverse are the same rounding of the same number,
 * and the product is several times faster. */
static int inverse_is_exact(double divisor) {
    int exponent;
    return frexp(divisor, &exponent) == 0.5;
}

struct kernels {
    void (*copy)(void *to, const void *from, size_t nbytes);
    void (*sum[WAGMA_DTYPES])(void *sum, const void *const *sources, int n, size_t count, int stream,
                   const struct wagma_output *output);
    void (*average[WAGMA_DTYPES])(const void *sum, size_t count, const struct wagma_output *output);
    void (*move[WAGMA_DTYPES])(void *to, const void *model, const void *difference, size_t count);
};

#define FOR_CPU(name) any_##name
#define TARGET
#include "kernels_for.h"

#ifdef X86
/* These conversions give the same bits whether or not the thread flushes subnormals. */
#define FOR_CPU(name) avx2_##name
#define TARGET __attribute__((target("avx2,f16c")))
#define HALVES 8
#define WIDEN_HALVES(to, from) _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from))))
#define NARROW_HALVES(to, from)                                                                                    \
    _mm_storeu_si128((__m128i *)(to), _mm256_cvtps_ph(_mm256_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT))
#define STREAM(to, from)                                                                                           \
    (_mm256_stream_si256((__m256i *)(to), _mm256_loadu_si256((const __m256i *)(from))),                            \
     _mm256_stream_si256((__m256i *)((to) + 32), _mm256_loadu_si256((const __m256i *)((from) + 32))))
#include "kernels_for.h"

#ifdef AVX512
#define FOR_CPU(name) avx512_##name
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define HALVES 16
#define WIDEN_HALVES(to, from) _mm512_storeu_ps(to, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(from))))
#define NARROW_HALVES(to, from)                                                                                    \
    _mm256_storeu_si256((__m256i *)(to), _mm512_cvtps_ph(_mm512_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT))
#define STREAM(to, from) _mm512_stream_si512((__m512i *)(to), _mm512_loadu_si512((const void *)(from)))
#include "kernels_for.h"
#endif
#endif

static const struct kernels *kernels = &any_kernels;

int wagma_use(int cpu) {
    kernels = &any_kernels;
#ifdef X86
    __builtin_cpu_init();
    if (cpu >= WAGMA_AVX2 && __builtin_cpu_supports("avx2")) kernels = &avx2_kernels;
#ifdef AVX512
    if (cpu >= WAGMA_AVX512 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
        kernels = &avx512_kernels;
        return WAGMA_AVX512;
    }
#endif
    return kernels == &any_kernels ? WAGMA_ANY : WAGMA_AVX2;
#else
    (void)cpu;
    return WAGMA_ANY;
#endif
}

__attribute__((constructor)) static void use_the_best(void) {
    wagma_use(WAGMA_AVX512);
}

/* Streamed stores keep no order, not even with atomics. */
static void end(int stream) {
#ifdef X86
    if (stream) _mm_sfence();
#else
    (void)stream;
#endif
}

static void copy_block(void *to, const void *from, size_t nbytes, int stream) {
    if (stream) {
        kernels->copy(to, from, nbytes);
    } else {
        memcpy(to, from, nbytes);
    }
}

void wagma_copy(void *to, const void *from, size_t nbytes, int stream) {
    copy_block(to, from, nbytes, stream);
    end(stream);
}

/* A result is made in the nearest cache, a block at a time, and copied from there. */
#define BLOCK 8192

void wagma_move(int dtype, const struct wagma_moved *moved, size_t count) {
    static const size_t widths[WAGMA_DTYPES] = {8, 4, 2, 2}, sum_widths[WAGMA_DTYPES] = {8, 4, 4, 4};
    size_t width = widths[dtype], most = BLOCK / width;
    char block[BLOCK] __attribute__((aligned(64)));
    for (size_t at = 0; at < count; at += most) {
        size_t length = count - at < most ? count - at : most;
        kernels->move[dtype](block, (const char *)moved->model + at * width,
                             (const char *)moved->difference + at * sum_widths[dtype], length);
        copy_block((char *)moved->to + at * width, block, length * width, moved->stream);
        if (moved->also) copy_block((char *)moved->also + at * width, block, length * width, moved->stream_also);
    }
    end(moved->stream || moved->stream_also);
}

void wagma_sum(int dtype, void *sum, const void *const *sources, int n, size_t count, int stream,
               const struct wagma_output *output) {
    kernels->sum[dtype](sum, sources, n, count, stream, output);
    end(stream || (output && output->stream));
}

void wagma_average(int dtype, const void *sum, size_t count, const struct wagma_output *output) {
    kernels->average[dtype](sum, count, output);
    end(output->stream);
}
