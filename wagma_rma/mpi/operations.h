/* Atomic operations on the words of a window, in batches that are in flight together.
 *
 * MPI promises atomicity between operations of one kind, and each word of the protocol knows one kind of change. Where
 * an MPI does these with a lock that other ranks wait for (Open MPI over a network: whoever is stopped with
 * it stops all), every operation is made of compare-and-swaps instead, which it does without.
 */
#ifndef WAGMA_OPERATIONS_H
#define WAGMA_OPERATIONS_H

#include "rma.h"

enum wagma_verb { WAGMA_LOAD, WAGMA_STORE, WAGMA_ADD, WAGMA_MAX, WAGMA_SWAP };

struct wagma_operation {
    int verb;
    int rank;
    int64_t word;      /* byte offset in the window */
    uint64_t operand;  /* added, compared with, or stored */
    uint64_t expected; /* of WAGMA_SWAP; else what the word may hold */
    uint64_t desired;  /* what it is swapped for */
    uint64_t result;   /* what the word held, or WAGMA_UNANSWERED */
    uint64_t *found;   /* where the caller wants that, or NULL */
    int state;
};

#define WAGMA_UNANSWERED UINT64_MAX /* a result that has not come */

enum { WAGMA_SEEN = 256 }; /* words whose last value is remembered, a first guess for compare-and-swap */

struct wagma_words {
    const struct wagma_rma *rma;
    wagma_handle win, type;
    wagma_handle add, max, replace, nothing; /* MPI_SUM and so on */
    int by_swap;
    int count, room; /* of operations begun */
    struct wagma_operation *operations;
    char *touched; /* per rank */
    double nap;    /* seconds to sleep until the answers may have come: MPI spins while it waits for them */
    struct {
        int64_t word;
        int rank;
        uint64_t value;
    } seen[WAGMA_SEEN];
    _Atomic int waits_for; /* rank whose operations are being flushed */
};

/* Make room for `room` operations; NULL if there is no memory. The caller sets the handles. */
struct wagma_words *wagma_words_make(int ranks, int room);
void wagma_words_free(struct wagma_words *w);

/* Make all operations that have been begun; returns MPI's error code. */
int wagma_words_operate(struct wagma_words *w);

/* The first rank that has not answered an operation of `w`, or -1; another thread may be making them. */
int wagma_words_awaited(const struct wagma_words *w);

/* Give their results to those who want them, and begin anew. */
void wagma_words_give(struct wagma_words *w);

#endif
