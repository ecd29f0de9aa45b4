/* The clock, and the ways in which a thread gives up its core: relax, yield, sleep. */
#ifndef WAGMA_CLOCK_H
#define WAGMA_CLOCK_H

#include <sched.h>
#include <time.h>

/* Tell the core that this thread spins. */
static inline void wagma_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/* Return seconds on a clock that only goes forward. */
static inline double wagma_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Let other threads that are ready run first. */
static inline void wagma_yield(void) {
    sched_yield();
}

/* Sleep. Returns non-zero when a signal cut the sleep short. */
static inline int wagma_sleep(double seconds) {
    struct timespec t;
    t.tv_sec = (time_t)seconds;
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    return nanosleep(&t, 0);
}

#endif
