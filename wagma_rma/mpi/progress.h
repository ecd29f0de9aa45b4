/* A thread that works for a rank while it is elsewhere: it serves what others ask of its memory, and operates for it.
 *
 * Over a network without RDMA the target of an operation must take part, or the operation waits until it
 * calls MPI again. This thread calls MPI for it. It polls, since MPI can't wake anyone; it sleeps between two looks
 * for a part of the time that nothing has happened, so that who operates on this rank is served at once while
 * it does, and a rank that nobody needs costs next to nothing. Whoever operates rings the target's bell, a word of its
 * window, by which this thread sees that something happens.
 *
 * A call of MPI that waits for another rank can't be cut short, and lasts for as long as that one is stopped. So words of
 * other hosts are operated on here, and the rank itself can say whom it waits for, and be interrupted.
 */
#ifndef WAGMA_PROGRESS_H
#define WAGMA_PROGRESS_H

#include "operations.h"

#define WAGMA_LONGEST_NAP 1.5e-3 /* seconds between two looks of a thread whose rank nobody needs */

struct wagma_progress;

/* Start the thread; NULL if there can be none. `bell` is this rank's, in a window's memory. */
struct wagma_progress *wagma_progress_start(wagma_handle comm, struct wagma_words *words, uint64_t *bell);

/* Begin to make the operations of `words`, or make them if the thread has ended. Those before must have been made. */
void wagma_progress_operate(struct wagma_progress *p);

/* Wait for that for `seconds` at most. Returns whether they are made; then *error is MPI's. */
int wagma_progress_wait(struct wagma_progress *p, double seconds, int *error);

/* End the thread; does nothing the second time. Waits for it for some `seconds` at most if they are not negative:
 * it may be in MPI, waiting for a rank that never answers. */
void wagma_progress_stop(struct wagma_progress *p, double seconds);

/* Free what wagma_progress_start() made, of a thread that has ended. */
void wagma_progress_free(struct wagma_progress *p);

#endif
