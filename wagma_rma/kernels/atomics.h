/* Atomics and fences on memory that several processes map.
 *
 * C11 only: MPI's own atomics in shared memory are a lock and plain C, so a word must never see both.
 * The words are 64 bits wide, lock-free on every platform we serve (checked below), and sequentially
 * consistent: the protocol was model-checked under that assumption.
 */
#ifndef WAGMA_ATOMICS_H
#define WAGMA_ATOMICS_H

#include <stdatomic.h>
#include <stdint.h>

#if ATOMIC_LLONG_LOCK_FREE != 2
#error "wagma_rma needs lock-free 64-bit atomics: a lock inside one process does not order another"
#endif

typedef _Atomic uint64_t wagma_word;

static inline uint64_t wagma_load(void *word) {
    return atomic_load((wagma_word *)word);
}

/* Two stores for words that have one writer: relaxed; and after all of this thread's stores before it. */
static inline void wagma_store_relaxed(void *word, uint64_t value) {
    atomic_store_explicit((wagma_word *)word, value, memory_order_relaxed);
}

static inline void wagma_store_release(void *word, uint64_t value) {
    atomic_store_explicit((wagma_word *)word, value, memory_order_release);
}

/* Keep this thread's later stores behind its earlier ones. */
static inline void wagma_release_fence(void) {
    atomic_thread_fence(memory_order_release);
}

static inline uint64_t wagma_fetch_add(void *word, uint64_t addend) {
    return atomic_fetch_add((wagma_word *)word, addend);
}

static inline uint64_t wagma_fetch_max(void *word, uint64_t value) {
    uint64_t seen = atomic_load((wagma_word *)word);
    while (seen < value && !atomic_compare_exchange_weak((wagma_word *)word, &seen, value)) {
    }
    return seen;
}

/* Returns what was found: equal to `expected` if, and only if, the swap was made. */
static inline uint64_t wagma_compare_and_swap(void *word, uint64_t expected, uint64_t desired) {
    atomic_compare_exchange_strong((wagma_word *)word, &expected, desired);
    return expected;
}

/* Each word operation above acquires and releases, so on mapped memory it orders by itself the bulk data
 * before it and after it: a snapshot before its publishing, sums before DONE, reads before the pin's return. Two
 * orders need a fence, those of the sequence lock of a result: the tag's store before the first byte of the result
 * that follows it (a release does not keep later accesses behind it), and the last byte read before the load of
 * the tag that follows it (an acquire does not keep earlier accesses before it). This fence serves both: it is
 * sequentially consistent, so it keeps stores before stores and loads before loads. */
static inline void wagma_fence(void) {
    atomic_thread_fence(memory_order_seq_cst);
}

#endif
