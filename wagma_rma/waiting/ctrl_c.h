/* A handler of SIGINT that counts the signals, and then calls the handler that was there before.
 *
 * Only ctrl_c.pyx includes this, so there is one of each variable.
 */
#ifndef WAGMA_CTRL_C_H
#define WAGMA_CTRL_C_H

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_long wagma_interrupts_noted;
static struct sigaction wagma_behind; /* the handler that ours was put in front of */
static int wagma_was_placed;          /* whether ours may still be called, so that wagma_behind must stay */

static void wagma_note_interrupt(int number, siginfo_t *info, void *context) {
    int kept = errno;
    atomic_fetch_add(&wagma_interrupts_noted, 1);
    if (wagma_behind.sa_flags & SA_SIGINFO)
        wagma_behind.sa_sigaction(number, info, context);
    else
        wagma_behind.sa_handler(number);
    errno = kept;
}

static inline int wagma_is_ours(const struct sigaction *action) {
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == wagma_note_interrupt;
}

static inline int wagma_same_function(const struct sigaction *one, const struct sigaction *other) {
    if ((one->sa_flags ^ other->sa_flags) & SA_SIGINFO)
        return 0;
    return one->sa_flags & SA_SIGINFO ? one->sa_sigaction == other->sa_sigaction
                                      : one->sa_handler == other->sa_handler;
}

/* Return how many interrupts have come while the handler was in its place. */
static inline long wagma_interrupts(void) {
    return atomic_load(&wagma_interrupts_noted);
}

/* Put the handler in its place, unless it is there. */
static inline void wagma_note_interrupts(void) {
    struct sigaction now, ours;
    if (sigaction(SIGINT, NULL, &now) != 0 || wagma_is_ours(&now))
        return;
    if (!(now.sa_flags & SA_SIGINFO) && (now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN))
        return; /* nothing to call */
    /* What has been put in front of ours may call ours. Ours must not be put in front of that too. */
    if (wagma_was_placed && !wagma_same_function(&now, &wagma_behind))
        return;
    ours = wagma_behind = now;
    ours.sa_flags |= SA_SIGINFO;
    ours.sa_sigaction = wagma_note_interrupt;
    wagma_was_placed = sigaction(SIGINT, &ours, NULL) == 0;
}

/* Put back what was there, unless something else has been put in front of the handler. */
static inline void wagma_leave_interrupts(void) {
    struct sigaction now;
    if (sigaction(SIGINT, NULL, &now) != 0)
        return;
    if (wagma_is_ours(&now))
        wagma_was_placed = sigaction(SIGINT, &wagma_behind, NULL) != 0;
    else if (wagma_same_function(&now, &wagma_behind))
        wagma_was_placed = 0;
}

#endif
