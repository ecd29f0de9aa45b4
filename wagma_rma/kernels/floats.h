/* The environment of floating-point arithmetic of a thread: how it rounds, and whether it keeps subnormal numbers. */
#ifndef WAGMA_FLOATS_H
#define WAGMA_FLOATS_H

#if defined(__x86_64__)

#include <xmmintrin.h>

/* The C library's fesetenv() sets the x87 too, which nothing here computes with, and takes 60 times as long. */
enum { WAGMA_FLOATS_FLAGS = 0x3f, WAGMA_FLOATS_DEFAULT = 0x1f80 };

typedef unsigned wagma_floats;

static inline void wagma_floats_enter(wagma_floats *before) {
    *before = _mm_getcsr();
    if ((*before & ~(unsigned)WAGMA_FLOATS_FLAGS) != WAGMA_FLOATS_DEFAULT) {
        _mm_setcsr(WAGMA_FLOATS_DEFAULT);
    }
}

static inline void wagma_floats_leave(const wagma_floats *before) {
    _mm_setcsr(*before);
}

#else

#include <fenv.h>

typedef fenv_t wagma_floats;

static inline void wagma_floats_enter(wagma_floats *before) {
    fegetenv(before);
    fesetenv(FE_DFL_ENV);
}

static inline void wagma_floats_leave(const wagma_floats *before) {
    fesetenv(before);
}

#endif

#endif
