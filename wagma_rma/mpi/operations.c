#define _GNU_SOURCE
#include "operations.h"

#include "../kernels/atomics.h"
#include "../kernels/clock.h"

#include <stdlib.h>
#include <string.h>

enum state { BEGUN, ISSUED, PERFORMED }; /* added to the batch; given to MPI; its result is there */

struct wagma_batch *wagma_batch_new(int ranks, int capacity) {
    int i;
    struct wagma_batch *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->operations = calloc((size_t)capacity, sizeof *b->operations);
    b->flushed = calloc((size_t)ranks, 1);
    b->capacity = capacity;
    for (i = 0; i < WAGMA_REMEMBERED; i++) b->last_known[i].rank = -1;
    if (b->operations && b->flushed) return b;
    wagma_batch_free(b);
    return NULL;
}

void wagma_batch_free(struct wagma_batch *b) {
    if (!b) return;
    free(b->operations);
    free(b->flushed);
    free(b);
}

void wagma_batch_move(struct wagma_batch *to, struct wagma_batch *from) {
    memcpy(&to->operations[to->count], from->operations, (size_t)from->count * sizeof *from->operations);
    to->count += from->count;
    from->count = 0;
}

/* Where the last known value of a word is remembered. Two words may share the place; the later one overwrites. */
static uint64_t *last_known(struct wagma_batch *b, int rank, int64_t word) {
    int place = (int)((uint64_t)(word / 8 + rank * 37) % WAGMA_REMEMBERED);
    if (b->last_known[place].rank != rank || b->last_known[place].word != word) {
        b->last_known[place].rank = rank;
        b->last_known[place].word = word;
        b->last_known[place].value = 0;
    }
    return &b->last_known[place].value;
}

/* Flush each rank that has an issued operation: when this returns their results are there. */
static int flush(struct wagma_batch *b) {
    int i, error = 0;
    if (b->delay > 0) wagma_sleep(b->delay);
    b->delay = 0;
    for (i = 0; i < b->count; i++) {
        int rank = b->operations[i].rank;
        if (b->operations[i].state != ISSUED || b->flushed[rank]) continue;
        b->flushed[rank] = 1;
        b->waits_for = rank;
        if (!error) error = b->rma->flush(rank, b->win);
    }
    for (i = 0; i < b->count; i++) b->flushed[b->operations[i].rank] = 0;
    return error;
}

/* Perform each operation by the function of MPI for it. */
static int perform_each(struct wagma_batch *b) {
    wagma_handle ops[] = {b->no_op, b->sum, b->max}; /* by verb */
    int i, error = 0;
    for (i = 0; i < b->count && !error; i++) {
        struct wagma_operation *o = &b->operations[i];
        o->state = ISSUED;
        b->waits_for = o->rank;
        error = o->verb == WAGMA_SWAP ? b->rma->compare_and_swap(&o->operand, &o->expected, &o->result, b->type,
                                                                 o->rank, o->word, b->win)
                                      : b->rma->fetch_and_op(&o->operand, &o->result, b->type, o->rank, o->word,
                                                             ops[o->verb], b->win);
    }
    return error ? error : flush(b);
}

/* Say whether an operation must wait for an earlier one: operations of one rank on one word keep their order. */
static int must_wait(struct wagma_batch *b, int i) {
    struct wagma_operation *o = &b->operations[i];
    int j;
    for (j = 0; j < i; j++) {
        struct wagma_operation *before = &b->operations[j];
        if (before->state != PERFORMED && before->word == o->word && before->rank == o->rank) return 1;
    }
    return 0;
}

/* Perform each operation by compare-and-swaps. The first swap guesses what the word holds; a swap that fails tells it,
 * and is repeated. A load swaps the word's value for itself. Each turn of the loop is a round trip. */
static int perform_by_swap(struct wagma_batch *b) {
    int i, error, left = b->count, changes = 0;
    for (i = 0; i < b->count; i++) {
        struct wagma_operation *o = &b->operations[i];
        o->state = BEGUN;
        changes += o->verb != WAGMA_LOAD;
        if (o->verb != WAGMA_SWAP) o->expected = *last_known(b, o->rank, o->word);
    }
    while (left) {
        for (i = 0; i < b->count; i++) {
            struct wagma_operation *o = &b->operations[i];
            if (o->state == PERFORMED || (changes && must_wait(b, i))) continue;
            switch (o->verb) {
            case WAGMA_LOAD: o->desired = o->expected; break;
            case WAGMA_ADD: o->desired = o->expected + o->operand; break;
            case WAGMA_MAX: o->desired = o->expected < o->operand ? o->operand : o->expected; break;
            default: o->desired = o->operand;
            }
            o->state = ISSUED;
            b->waits_for = o->rank;
            error = b->rma->compare_and_swap(&o->desired, &o->expected, &o->result, b->type, o->rank, o->word, b->win);
            if (error) return error;
        }
        error = flush(b);
        if (error) return error;
        for (i = 0; i < b->count; i++) {
            struct wagma_operation *o = &b->operations[i];
            int swapped = o->result == o->expected;
            if (o->state != ISSUED) continue;
            *last_known(b, o->rank, o->word) = swapped ? o->desired : o->result;
            if (swapped || o->verb == WAGMA_LOAD || o->verb == WAGMA_SWAP ||
                (o->verb == WAGMA_MAX && o->result >= o->operand)) {
                o->state = PERFORMED;
                left--;
            } else {
                o->expected = o->result;
                o->state = BEGUN;
            }
        }
    }
    return 0;
}

int wagma_batch_perform(struct wagma_batch *b) {
    return b->by_swap ? perform_by_swap(b) : perform_each(b);
}

int wagma_batch_unanswered(const struct wagma_batch *b) {
    int i;
    for (i = 0; i < b->count; i++) {
        if (wagma_load((uint64_t *)&b->operations[i].result) == WAGMA_UNANSWERED) return b->operations[i].rank;
    }
    return -1;
}

void wagma_batch_return_results(struct wagma_batch *b) {
    int i;
    for (i = 0; i < b->count; i++) {
        if (b->operations[i].found) *b->operations[i].found = b->operations[i].result;
    }
    b->count = 0;
}
