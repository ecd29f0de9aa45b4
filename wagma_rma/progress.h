/* A thread that works for a rank while it is elsewhere: serves what others ask of its memory, and flushes for it.
 *
 * Over a network without RDMA the target of an operation must take part, or the operation waits until it
 * calls MPI again. This thread calls MPI for it. It polls, since MPI can't wake anyone; it sleeps between two looks
 * for a part of the time that nothing has happened, so that who operates on this rank is served at once while
 * it does, and a rank that nobody needs costs next to nothing. Whoever operates rings the target's bell, a word of its
 * window, by which this thread sees that something happens.
 *
 * MPI_Win_flush can't be cut short, and waits for a target that is stopped as long as it is. So flushes are done
 * here, and the rank itself can say whom it waits for, and be interrupted.
 */
#ifndef WAGMA_PROGRESS_H
#define WAGMA_PROGRESS_H

#include "rma.h"

struct wagma_progress;

/* Start the thread; NULL if there can be none. `bell` is this rank's, in a window's memory. */
struct wagma_progress *wagma_progress_start(const struct wagma_rma *rma, wagma_handle comm, wagma_handle win,
                                            uint64_t *bell);

/* Begin to flush some targets, in order. The last ones must have been flushed. */
void wagma_progress_flush(struct wagma_progress *p, const int *targets, int count);

/* Wait for that for `seconds` at most. Returns how many targets are flushed, of all when error != 0. */
int wagma_progress_wait(struct wagma_progress *p, double seconds, int *error);

/* End the thread; does nothing the second time. */
void wagma_progress_stop(void *p);

/* Free what wagma_progress_start() made, of a thread that has ended. */
void wagma_progress_free(struct wagma_progress *p);

#endif
