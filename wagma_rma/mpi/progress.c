#define _GNU_SOURCE
#include "progress.h"

#include "../kernels/atomics.h"
#include "../kernels/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

/* The thread was last needed t seconds ago: sleep for t / PART, so that the next operation is served within an eighth of
 * the time that it took to come. WAGMA_LONGEST_SLEEP keeps an idle rank below 2 % of a core, at some 20 us for a poll
 * and a wake-up. A sleep below SHORTEST_SLEEP takes longer than asked for; yielding the core is as good. */
#define PART 8
#define SHORTEST_SLEEP 20e-6
#define SPINS 200 /* of the rank, before it sleeps until its thread is done: some 5 us */

struct wagma_progress {
    wagma_handle comm; /* that is polled */
    struct wagma_batch *batch;
    uint64_t *bell;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked, done;
    _Atomic int busy; /* the batch is to be performed */
    int error;
    _Atomic int stop;
    int ended;
};

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, double seconds) {
    struct timespec until;
    double at = wagma_now() + seconds;
    until.tv_sec = (time_t)at;
    until.tv_nsec = (long)((at - (double)until.tv_sec) * 1e9);
    pthread_cond_timedwait(cond, lock, &until);
}

static void *serve(void *state) {
    struct wagma_progress *p = state;
    uint64_t last_bell = 0, bell;
    double now, needed = wagma_now(), seconds;
    prctl(PR_SET_TIMERSLACK, 1000UL); /* ns; else a sleep of 20 us would take 70 */
    while (!p->stop) {
        if (p->busy) {
            p->error = wagma_batch_perform(p->batch);
            pthread_mutex_lock(&p->lock);
            p->busy = 0;
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->lock);
        }
        p->batch->rma->poll(p->comm);
        now = wagma_now();
        bell = wagma_load(p->bell);
        if (bell != last_bell) {
            last_bell = bell;
            needed = now;
        }
        seconds = (now - needed) / PART;
        if (seconds < SHORTEST_SLEEP) {
            wagma_yield();
            continue;
        }
        pthread_mutex_lock(&p->lock);
        if (!p->busy && !p->stop) {
            wait_until(&p->asked, &p->lock, seconds < WAGMA_LONGEST_SLEEP ? seconds : WAGMA_LONGEST_SLEEP);
        }
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

struct wagma_progress *wagma_progress_start(wagma_handle comm, struct wagma_batch *batch, uint64_t *bell) {
    pthread_condattr_t monotonic;
    sigset_t all, before;
    int failed;
    struct wagma_progress *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->comm = comm;
    p->batch = batch;
    p->bell = bell;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->asked, &monotonic);
    pthread_cond_init(&p->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&p->lock, NULL);
    /* Blocked in the thread, so that signals interrupt the main thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&p->thread, NULL, serve, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        free(p);
        return NULL;
    }
    return p;
}

void wagma_progress_perform(struct wagma_progress *p) {
    if (p->ended) {
        p->error = wagma_batch_perform(p->batch);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->busy = 1;
    pthread_cond_signal(&p->asked);
    pthread_mutex_unlock(&p->lock);
}

int wagma_progress_wait(struct wagma_progress *p, double seconds, int *error) {
    int i;
    for (i = 0; i < SPINS && p->busy; i++) wagma_relax();
    if (p->busy) {
        pthread_mutex_lock(&p->lock);
        if (p->busy) wait_until(&p->done, &p->lock, seconds);
        pthread_mutex_unlock(&p->lock);
    }
    if (p->busy) return 0;
    *error = p->error;
    return 1;
}

void wagma_progress_stop(struct wagma_progress *p, double seconds) {
    struct timespec until;
    if (p->ended) return;
    pthread_mutex_lock(&p->lock);
    p->stop = 1;
    pthread_cond_signal(&p->asked);
    pthread_mutex_unlock(&p->lock);
    if (seconds < 0) {
        p->ended = !pthread_join(p->thread, NULL);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)seconds + 1;
    p->ended = !pthread_timedjoin_np(p->thread, NULL, &until);
}

void wagma_progress_free(struct wagma_progress *p) {
    pthread_cond_destroy(&p->asked);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
