/* Atomic operations on the words of a window, in batches: all operations of a batch are in flight together.
 *
 * MPI promises atomicity between operations of the same type (additions, say), and each word of the protocol knows one
 * type of change. Open MPI over a network performs these operations with a lock at the target; a rank that is stopped
 * while it holds this lock stops all others. So there every operation is built from compare-and-swaps, for which
 * Open MPI takes no lock.
 */
#ifndef WAGMA_OPERATIONS_H
#define WAGMA_OPERATIONS_H

#include "rma.h"

enum wagma_verb { WAGMA_LOAD, WAGMA_ADD, WAGMA_MAX, WAGMA_SWAP };

struct wagma_operation {
    int verb;
    int rank;
    int64_t word;      /* byte offset in the window */
    uint64_t operand;  /* what is added, what the word is raised to, or what is swapped in */
    uint64_t expected; /* of WAGMA_SWAP; for the other verbs, where built from swaps: what the word may hold */
    uint64_t desired;  /* where built from swaps: what is swapped in */
    uint64_t result;   /* what the word held, or WAGMA_UNANSWERED */
    uint64_t *found;   /* where the caller wants the result, or NULL */
    int state;
};

#define WAGMA_UNANSWERED UINT64_MAX /* a result that has not arrived */

enum { WAGMA_REMEMBERED = 256 }; /* words whose last known value is remembered */

struct wagma_batch {
    const struct wagma_rma *rma;
    wagma_handle win, type;
    wagma_handle no_op, sum, max; /* MPI_NO_OP, MPI_SUM, MPI_MAX */
    int by_swap;                  /* build every operation from compare-and-swaps */
    int count, capacity;          /* of operations */
    struct wagma_operation *operations;
    char *flushed;  /* per rank: in this round */
    double delay;   /* seconds to sleep before the flush, in which the answers may arrive: MPI spins in a flush */
    struct {
        int64_t word;
        int rank;
        uint64_t value;
    } last_known[WAGMA_REMEMBERED]; /* first guesses of what a compare-and-swap will find */
    _Atomic int waits_for;          /* the rank that is being flushed */
};

/* Return an empty batch, or NULL if there is no memory. The caller sets `rma`, the handles and `by_swap`. */
struct wagma_batch *wagma_batch_new(int ranks, int capacity);
void wagma_batch_free(struct wagma_batch *b);

/* Add an operation to a batch that has room for it. */
static inline struct wagma_operation *wagma_batch_add(struct wagma_batch *b, int verb, int rank, int64_t word,
                                                      uint64_t operand, uint64_t *found) {
    struct wagma_operation *o = &b->operations[b->count++];
    o->verb = verb;
    o->rank = rank;
    o->word = word;
    o->operand = operand;
    o->found = found;
    o->result = WAGMA_UNANSWERED;
    return o;
}

/* Move all operations of a batch to the end of another, which has room for them. */
void wagma_batch_move(struct wagma_batch *to, struct wagma_batch *from);

/* Perform all operations of a batch; return MPI's error code. */
int wagma_batch_perform(struct wagma_batch *b);

/* Return the first rank that has not answered an operation, or -1. Another thread may be performing the batch. */
int wagma_batch_unanswered(const struct wagma_batch *b);

/* Write the results to where the callers want them, and empty the batch. */
void wagma_batch_return_results(struct wagma_batch *b);

#endif
