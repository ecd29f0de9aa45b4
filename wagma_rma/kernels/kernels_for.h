/* The kernels for one kind of CPU: kernels.c includes this once for each, with
 *
 *     FOR_CPU(name)     the function's name for this CPU
 *     TARGET            the attribute by which the compiler may use its instructions
 *     STREAM(to, from)  copy 64 bytes past the caches, `to` is aligned; not defined where there is no such instruction
 *     HALVES, WIDEN_HALVES(to, from), NARROW_HALVES(to, from)  convert so many 16-bit floats at a time; likewise
 */
#ifndef STREAM
#define STREAM(to, from) memcpy(to, from, 64)
#endif

/* Write past the caches. A plain store first reads the line that it writes to, and evicts lines that are still of use. */
TARGET static void FOR_CPU(copy)(void *to, const void *from, size_t nbytes) {
    char *out = to;
    const char *in = from;
    size_t head = to_line(out, 1, nbytes);
    memcpy(out, in, head);
    for (out += head, in += head, nbytes -= head; nbytes >= 64; out += 64, in += 64, nbytes -= 64) {
        __builtin_prefetch(in + AHEAD);
        STREAM(out, in);
    }
    memcpy(out, in, nbytes);
}

/* The same for data that has just been computed, in whole and aligned lines. */
TARGET INLINE void FOR_CPU(stream)(void *to, const void *from, size_t nbytes) {
    for (size_t i = 0; i < nbytes; i += 64) STREAM((char *)to + i, (const char *)from + i);
}

/* Conversions between the elements and the type of their sums. widen_ returns where the elements are in that type: in
 * `room`, or still at `from` if both types are the same. */
TARGET INLINE const float *FOR_CPU(widen_f16)(const uint16_t *from, float *room, size_t length) {
    size_t i = 0;
#ifdef HALVES
    for (; i + HALVES <= length; i += HALVES) WIDEN_HALVES(room + i, from + i);
#endif
    for (; i < length; i++) room[i] = widen_f16(from[i]);
    return room;
}

TARGET INLINE void FOR_CPU(narrow_f16)(uint16_t *to, const float *from, size_t length) {
    size_t i = 0;
#ifdef HALVES
    for (; i + HALVES <= length; i += HALVES) NARROW_HALVES(to + i, from + i);
#endif
    for (; i < length; i++) to[i] = narrow_f16(from[i]);
}

TARGET INLINE const float *FOR_CPU(widen_bf16)(const uint16_t *from, float *room, size_t length) {
    for (size_t i = 0; i < length; i++) room[i] = widen_bf16(from[i]);
    return room;
}

TARGET INLINE void FOR_CPU(narrow_bf16)(uint16_t *to, const float *from, size_t length) {
    for (size_t i = 0; i < length; i++) to[i] = narrow_bf16(from[i]);
}

#define SAME(NAME, TYPE)                                                                                           \
    INLINE const TYPE *FOR_CPU(widen_##NAME)(const TYPE *from, TYPE *room, size_t length) {                        \
        return (void)room, (void)length, from;                                                                     \
    }                                                                                                              \
    INLINE void FOR_CPU(narrow_##NAME)(TYPE *to, const TYPE *from, size_t length) {                                \
        (void)to, (void)from, (void)length;                                                                        \
    }

SAME(f32, float)
SAME(f64, double)

#define KERNELS(NAME, TYPE, SUM)                                                                                   \
    /* Up to UNIT elements of a sum, which the compiler keeps in registers if `length` is UNIT. */                 \
    TARGET INLINE void FOR_CPU(add_##NAME)(SUM *sum, const void *const *sources, int n, size_t at, size_t length) {\
        SUM room[UNIT(SUM)];                                                                                       \
        const TYPE *from = (const TYPE *)sources[0] + at;                                                          \
        FETCH(from, UNIT(SUM));                                                                                    \
        const SUM *wide = FOR_CPU(widen_##NAME)(from, sum, length);                                                \
        if (wide != sum) for (size_t i = 0; i < length; i++) sum[i] = wide[i];                                     \
        for (int k = 1; k < n; k++) {                                                                              \
            from = (const TYPE *)sources[k] + at;                                                                  \
            FETCH(from, UNIT(SUM));                                                                                \
            wide = FOR_CPU(widen_##NAME)(from, room, length);                                                      \
            for (size_t i = 0; i < length; i++) sum[i] += wide[i];                                                 \
        }                                                                                                          \
    }                                                                                                              \
    /* Up to UNIT elements of an average. */                                                                       \
    TARGET INLINE void FOR_CPU(put_##NAME)(const struct wagma_output *output, SUM divisor, SUM inverse, int exact, \
                                           const SUM *sum, size_t at, size_t length, int stream) {                 \
        TYPE *out = (TYPE *)output->out + at, unit[UNIT(SUM)];                                                     \
        TYPE *to = stream || output->before ? unit : out;                                                          \
        SUM mixed[UNIT(SUM)], room[UNIT(SUM)];                                                                     \
        SUM *average = sizeof(TYPE) == sizeof(SUM) ? (SUM *)to : room;                                             \
        if (output->own) {                                                                                         \
            const SUM *own = FOR_CPU(widen_##NAME)((const TYPE *)output->own + at, room, length);                  \
            for (size_t i = 0; i < length; i++) mixed[i] = sum[i] + own[i];                                        \
            sum = mixed;                                                                                           \
        }                                                                                                          \
        if (exact) {                                                                                               \
            for (size_t i = 0; i < length; i++) average[i] = sum[i] * inverse;                                     \
        } else {                                                                                                   \
            for (size_t i = 0; i < length; i++) average[i] = sum[i] / divisor;                                     \
        }                                                                                                          \
        FOR_CPU(narrow_##NAME)(to, average, length);                                                               \
        if (output->before) {                                                                                      \
            SUM *moves = (SUM *)output->out + at, moved[UNIT(SUM)], rooms[2][UNIT(SUM)];                           \
            const SUM *end = FOR_CPU(widen_##NAME)(unit, rooms[0], length);                                        \
            const SUM *begin = FOR_CPU(widen_##NAME)((const TYPE *)output->before + at, rooms[1], length);         \
            SUM *into = stream ? moved : moves;                                                                    \
            for (size_t i = 0; i < length; i++) into[i] = end[i] - begin[i];                                       \
            if (stream) FOR_CPU(stream)(moves, moved, length * sizeof *moved);                                     \
        } else if (stream) {                                                                                       \
            FOR_CPU(stream)(out, unit, length * sizeof *unit);                                                     \
        }                                                                                                          \
    }                                                                                                              \
    TARGET static void FOR_CPU(sum_##NAME)(void *sums, const void *const *sources, int n, size_t count, int stream,\
                                           const struct wagma_output *output) {                                    \
        SUM *out = sums, divisor = output ? (SUM)output->divisor : 1, inverse = 1 / divisor;                       \
        int exact = inverse_is_exact(divisor), streams_output = output && output->stream;                          \
        size_t at = streams_output ? to_line(output->out, output->before ? sizeof(SUM) : sizeof(TYPE), count) : 0; \
        if (at) {                                                                                                  \
            FOR_CPU(add_##NAME)(out, sources, n, 0, at);                                                           \
            FOR_CPU(put_##NAME)(output, divisor, inverse, exact, out, 0, at, 0);                                   \
        }                                                                                                          \
        /* Whole lines are streamed: a unit leaves its last sums to the next; the first takes what is there. */    \
        SUM unit[UNIT(SUM) + 64 / sizeof(SUM)];                                                                    \
        size_t before = stream ? ((uintptr_t)(out + at) & 63) / sizeof(SUM) : 0;                                   \
        memcpy(unit, out + at - before, before * sizeof(SUM));                                                     \
        for (; at + UNIT(SUM) <= count; at += UNIT(SUM)) {                                                         \
            FOR_CPU(add_##NAME)(unit + before, sources, n, at, UNIT(SUM));                                         \
            if (output) FOR_CPU(put_##NAME)(output, divisor, inverse, exact, unit + before, at, UNIT(SUM), streams_output);\
            if (stream) {                                                                                          \
                FOR_CPU(stream)(out + at - before, unit, UNIT(SUM) * sizeof(SUM));                                 \
                memcpy(unit, unit + UNIT(SUM), 64);                                                                \
            } else {                                                                                               \
                memcpy(out + at, unit, UNIT(SUM) * sizeof(SUM));                                                   \
            }                                                                                                      \
        }                                                                                                          \
        memcpy(out + at - before, unit, before * sizeof(SUM));                                                     \
        if (at < count) {                                                                                          \
            FOR_CPU(add_##NAME)(out + at, sources, n, at, count - at);                                             \
            if (output) FOR_CPU(put_##NAME)(output, divisor, inverse, exact, out + at, at, count - at, 0);         \
        }                                                                                                          \
    }                                                                                                              \
    TARGET static void FOR_CPU(average_##NAME)(const void *sums, size_t count,                                     \
                                               const struct wagma_output *output) {                                \
        const SUM *sum = sums;                                                                                     \
        SUM divisor = (SUM)output->divisor, inverse = 1 / divisor;                                                 \
        int exact = inverse_is_exact(divisor);                                                                     \
        size_t at = output->stream ? to_line(output->out, output->before ? sizeof(SUM) : sizeof(TYPE), count) : 0; \
        FOR_CPU(put_##NAME)(output, divisor, inverse, exact, sum, 0, at, 0);                                       \
        for (; at + UNIT(SUM) <= count; at += UNIT(SUM)) {                                                         \
            FETCH(sum + at, UNIT(SUM));                                                                            \
            FOR_CPU(put_##NAME)(output, divisor, inverse, exact, sum + at, at, UNIT(SUM), output->stream);         \
        }                                                                                                          \
        FOR_CPU(put_##NAME)(output, divisor, inverse, exact, sum + at, at, count - at, 0);                         \
    }                                                                                                              \
    TARGET static void FOR_CPU(move_##NAME)(void *to, const void *model, const void *difference, size_t count) {   \
        for (size_t at = 0; at < count; at += UNIT(SUM)) {                                                         \
            size_t length = count - at < UNIT(SUM) ? count - at : UNIT(SUM);                                       \
            const TYPE *from = (const TYPE *)model + at;                                                           \
            const SUM *move = (const SUM *)difference + at;                                                        \
            SUM room[UNIT(SUM)], sum[UNIT(SUM)];                                                                   \
            FETCH(from, UNIT(SUM));                                                                                \
            FETCH(move, UNIT(SUM));                                                                                \
            const SUM *wide = FOR_CPU(widen_##NAME)(from, room, length);                                           \
            SUM *into = sizeof(TYPE) == sizeof(SUM) ? (SUM *)to + at : sum;                                        \
            for (size_t i = 0; i < length; i++) into[i] = wide[i] + move[i];                                       \
            FOR_CPU(narrow_##NAME)((TYPE *)to + at, sum, length);                                                  \
        }                                                                                                          \
    }

KERNELS(f64, double, double)
KERNELS(f32, float, float)
KERNELS(f16, uint16_t, float)
KERNELS(bf16, uint16_t, float)

static const struct kernels FOR_CPU(kernels) = {
    FOR_CPU(copy),
    {FOR_CPU(sum_f64), FOR_CPU(sum_f32), FOR_CPU(sum_f16), FOR_CPU(sum_bf16)},
    {FOR_CPU(average_f64), FOR_CPU(average_f32), FOR_CPU(average_f16), FOR_CPU(average_bf16)},
    {FOR_CPU(move_f64), FOR_CPU(move_f32), FOR_CPU(move_f16), FOR_CPU(move_bf16)},
};

#undef KERNELS
#undef SAME
#undef FOR_CPU
#undef TARGET
#undef STREAM
#undef HALVES
#undef WIDEN_HALVES
#undef NARROW_HALVES
