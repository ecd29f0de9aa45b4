/* The progress thread of a rank: it serves the operations of other ranks on this rank's memory while the rank computes
 * outside MPI, and performs this rank's operations on words of other hosts.
 *
 * Why it serves. Over a network without RDMA an operation waits until its target calls MPI. This thread calls MPI
 * for its rank. It polls, since MPI can wake no thread, and sleeps between two polls for a part of the time since it
 * was last needed: operations on a rank in use are served at once, and a rank that nobody needs costs next to nothing.
 * The thread learns that it is needed from the rank's bell, a word of its window to which other ranks add one.
 *
 * Why it performs. A call of MPI that waits for another rank can't be cut short, and lasts for as long as that rank is
 * stopped. While the thread waits in MPI, the rank itself can still name the rank that it waits for, and be
 * interrupted.
 */
#ifndef WAGMA_PROGRESS_H
#define WAGMA_PROGRESS_H

#include "operations.h"

#define WAGMA_LONGEST_SLEEP 1.5e-3 /* seconds between two polls of a thread that nobody needs */

struct wagma_progress;

/* Start the thread; return NULL if the operating system refuses. `bell` is this rank's, in the memory of a window. */
struct wagma_progress *wagma_progress_start(wagma_handle comm, struct wagma_batch *batch, uint64_t *bell);

/* Have the thread perform its batch; if the thread has ended, perform it here. The batch before must be done. */
void wagma_progress_perform(struct wagma_progress *p);

/* Wait until the batch is done, for `seconds` at most. Return whether it is done; then *error is MPI's error code. */
int wagma_progress_wait(struct wagma_progress *p, double seconds, int *error);

/* End the thread; a second call does nothing. Wait for its end, for about `seconds` at most unless they are negative:
 * the thread may be in MPI, waiting for a rank that never answers. */
void wagma_progress_stop(struct wagma_progress *p, double seconds);

/* Free the memory of wagma_progress_start(). The thread must have ended. */
void wagma_progress_free(struct wagma_progress *p);

#endif
