/* The kernels for one kind of CPU: kernels.c includes this once for each, with
 *
 *     FOR_CPU(name)     the function's name for this CPU
 *     TARGET            the attribute by which the compiler may use its instructions
 *     STREAM(to, from)  copy 64 bytes past the caches, `to` is aligned; not defined where there is no such instruction
 */

/* Write past the caches. A plain store first reads the line that it writes to, and pushes out what is still of use. */
TARGET static void FOR_CPU(stream)(void *to, const void *from, size_t nbytes) {
    char *out = to;
    const char *in = from;
#ifdef STREAM
    size_t head = -(uintptr_t)out & 63;
    if (head > nbytes) head = nbytes;
    memcpy(out, in, head);
    out += head, in += head, nbytes -= head;
    for (; nbytes >= 64; out += 64, in += 64, nbytes -= 64) STREAM(out, in);
#endif
    memcpy(out, in, nbytes);
}

#define KERNELS(NAME, TYPE, SUM, WIDEN, NARROW)                                                                    \
    TARGET static void FOR_CPU(sum_##NAME)(void *sums, const void *const *sources, int n, size_t count) {          \
        for (size_t begin = 0; begin < count; begin += BLOCK) {                                                    \
            size_t length = begin + BLOCK < count ? BLOCK : count - begin;                                         \
            SUM *out = (SUM *)sums + begin;                                                                        \
            const TYPE *a = (const TYPE *)sources[0] + begin;                                                      \
            if (n == 1) {                                                                                          \
                for (size_t i = 0; i < length; i++) out[i] = WIDEN(a[i]);                                          \
            } else {                                                                                               \
                const TYPE *b = (const TYPE *)sources[1] + begin;                                                  \
                for (size_t i = 0; i < length; i++) out[i] = WIDEN(a[i]) + WIDEN(b[i]);                            \
            }                                                                                                      \
            for (int k = 2; k < n; k++) {                                                                          \
                const TYPE *c = (const TYPE *)sources[k] + begin;                                                  \
                for (size_t i = 0; i < length; i++) out[i] += WIDEN(c[i]);                                         \
            }                                                                                                      \
        }                                                                                                          \
    }                                                                                                              \
    TARGET static void FOR_CPU(scale_##NAME)(void *outs, const void *sums, double by, size_t count, int stream) {  \
        TYPE *out = outs, block[BLOCK];                                                                            \
        const SUM *sum = sums;                                                                                     \
        SUM divisor = (SUM)by, inverse = (SUM)1 / divisor;                                                         \
        int exact = inverse_is_exact(by);                                                                          \
        for (size_t begin = 0; begin < count; begin += BLOCK) {                                                    \
            size_t length = begin + BLOCK < count ? BLOCK : count - begin;                                         \
            TYPE *to = stream ? block : out + begin;                                                               \
            const SUM *from = sum + begin;                                                                         \
            if (exact) {                                                                                           \
                for (size_t i = 0; i < length; i++) to[i] = NARROW(from[i] * inverse);                             \
            } else {                                                                                               \
                for (size_t i = 0; i < length; i++) to[i] = NARROW(from[i] / divisor);                             \
            }                                                                                                      \
            if (stream) FOR_CPU(stream)(out + begin, block, length * sizeof *block);                               \
        }                                                                                                          \
    }                                                                                                              \
    TARGET static void FOR_CPU(mix_##NAME)(void *outs, const void *sums, const void *owns, double by,              \
                                           size_t count, int stream) {                                             \
        TYPE *out = outs, block[BLOCK];                                                                            \
        const SUM *sum = sums;                                                                                     \
        const TYPE *own = owns;                                                                                    \
        SUM divisor = (SUM)by, inverse = (SUM)1 / divisor;                                                         \
        int exact = inverse_is_exact(by);                                                                          \
        for (size_t begin = 0; begin < count; begin += BLOCK) {                                                    \
            size_t length = begin + BLOCK < count ? BLOCK : count - begin;                                         \
            TYPE *to = stream ? block : out + begin;                                                               \
            const SUM *from = sum + begin;                                                                         \
            const TYPE *mine = own + begin;                                                                        \
            if (exact) {                                                                                           \
                for (size_t i = 0; i < length; i++) to[i] = NARROW((from[i] + WIDEN(mine[i])) * inverse);          \
            } else {                                                                                               \
                for (size_t i = 0; i < length; i++) to[i] = NARROW((from[i] + WIDEN(mine[i])) / divisor);          \
            }                                                                                                      \
            if (stream) FOR_CPU(stream)(out + begin, block, length * sizeof *block);                               \
        }                                                                                                          \
    }

KERNELS(f64, double, double, SAME, SAME)
KERNELS(f32, float, float, SAME, SAME)
KERNELS(f16, uint16_t, float, widen_f16, narrow_f16)
KERNELS(bf16, uint16_t, float, widen_bf16, narrow_bf16)

static const struct kernels FOR_CPU(kernels) = {
    FOR_CPU(stream),
    {FOR_CPU(sum_f64), FOR_CPU(sum_f32), FOR_CPU(sum_f16), FOR_CPU(sum_bf16)},
    {FOR_CPU(scale_f64), FOR_CPU(scale_f32), FOR_CPU(scale_f16), FOR_CPU(scale_bf16)},
    {FOR_CPU(mix_f64), FOR_CPU(mix_f32), FOR_CPU(mix_f16), FOR_CPU(mix_bf16)},
};

#undef KERNELS
#undef FOR_CPU
#undef TARGET
#undef STREAM
