#define _GNU_SOURCE
#include "operations.h"

#include "../kernels/atomics.h"
#include "../kernels/clock.h"

#include <stdlib.h>

enum state { BEGUN, ISSUED, MADE };

struct wagma_words *wagma_words_make(int ranks, int room) {
    int i;
    struct wagma_words *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->operations = calloc((size_t)room, sizeof *w->operations);
    w->touched = calloc((size_t)ranks, 1);
    w->room = room;
    for (i = 0; i < WAGMA_SEEN; i++) w->seen[i].rank = -1;
    if (w->operations && w->touched) return w;
    wagma_words_free(w);
    return NULL;
}

void wagma_words_free(struct wagma_words *w) {
    if (!w) return;
    free(w->operations);
    free(w->touched);
    free(w);
}

static uint64_t *last_seen(struct wagma_words *w, int rank, int64_t word) {
    int place = (int)((uint64_t)(word / 8 + rank * 37) % WAGMA_SEEN);
    if (w->seen[place].rank != rank || w->seen[place].word != word) {
        w->seen[place].rank = rank;
        w->seen[place].word = word;
        w->seen[place].value = 0;
    }
    return &w->seen[place].value;
}

/* Flush the ranks of the operations that are issued. */
static int flush(struct wagma_words *w) {
    int i, error = 0;
    if (w->nap > 0) wagma_sleep(w->nap);
    w->nap = 0;
    for (i = 0; i < w->count; i++) {
        int rank = w->operations[i].rank;
        if (w->operations[i].state != ISSUED || w->touched[rank]) continue;
        w->touched[rank] = 1;
        w->waits_for = rank;
        if (!error) error = w->rma->flush(rank, w->win);
    }
    for (i = 0; i < w->count; i++) w->touched[w->operations[i].rank] = 0;
    return error;
}

static int operate_each(struct wagma_words *w) {
    wagma_handle ops[] = {w->nothing, w->replace, w->add, w->max};
    int i, error = 0;
    for (i = 0; i < w->count && !error; i++) {
        struct wagma_operation *o = &w->operations[i];
        o->state = ISSUED;
        w->waits_for = o->rank;
        error = o->verb == WAGMA_SWAP ? w->rma->compare_and_swap(&o->operand, &o->expected, &o->result, w->type,
                                                                 o->rank, o->word, w->win)
                                      : w->rma->fetch_and_op(&o->operand, &o->result, w->type, o->rank, o->word,
                                                             ops[o->verb], w->win);
    }
    return error ? error : flush(w);
}

/* Operations of one rank on one word keep their order. */
static int waits_its_turn(struct wagma_words *w, int i) {
    struct wagma_operation *o = &w->operations[i];
    int j;
    for (j = 0; j < i; j++) {
        struct wagma_operation *before = &w->operations[j];
        if (before->state != MADE && before->word == o->word && before->rank == o->rank) return 1;
    }
    return 0;
}

static int operate_by_swap(struct wagma_words *w) {
    int i, error, left = w->count, changes = 0;
    for (i = 0; i < w->count; i++) {
        struct wagma_operation *o = &w->operations[i];
        o->state = BEGUN;
        changes += o->verb != WAGMA_LOAD;
        if (o->verb != WAGMA_SWAP) o->expected = *last_seen(w, o->rank, o->word);
    }
    while (left) {
        for (i = 0; i < w->count; i++) {
            struct wagma_operation *o = &w->operations[i];
            if (o->state == MADE || (changes && waits_its_turn(w, i))) continue;
            switch (o->verb) {
            case WAGMA_LOAD: o->desired = o->expected; break;
            case WAGMA_ADD: o->desired = o->expected + o->operand; break;
            case WAGMA_MAX: o->desired = o->expected < o->operand ? o->operand : o->expected; break;
            default: o->desired = o->operand;
            }
            o->state = ISSUED;
            w->waits_for = o->rank;
            error = w->rma->compare_and_swap(&o->desired, &o->expected, &o->result, w->type, o->rank, o->word, w->win);
            if (error) return error;
        }
        error = flush(w);
        if (error) return error;
        for (i = 0; i < w->count; i++) {
            struct wagma_operation *o = &w->operations[i];
            int swapped = o->result == o->expected;
            if (o->state != ISSUED) continue;
            *last_seen(w, o->rank, o->word) = swapped ? o->desired : o->result;
            if (swapped || o->verb == WAGMA_LOAD || o->verb == WAGMA_SWAP ||
                (o->verb == WAGMA_MAX && o->result >= o->operand)) {
                o->state = MADE;
                left--;
            } else {
                o->expected = o->result;
                o->state = BEGUN;
            }
        }
    }
    return 0;
}

int wagma_words_operate(struct wagma_words *w) {
    return w->by_swap ? operate_by_swap(w) : operate_each(w);
}

int wagma_words_awaited(const struct wagma_words *w) {
    int i;
    for (i = 0; i < w->count; i++) {
        if (wagma_load((uint64_t *)&w->operations[i].result) == WAGMA_UNANSWERED) return w->operations[i].rank;
    }
    return -1;
}

void wagma_words_give(struct wagma_words *w) {
    int i;
    for (i = 0; i < w->count; i++) {
        if (w->operations[i].found) *w->operations[i].found = w->operations[i].result;
    }
    w->count = 0;
}
