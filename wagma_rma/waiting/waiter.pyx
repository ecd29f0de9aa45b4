"""How a rank waits for other ranks without keeping a core busy.

A wait backs off in three stages:

1. It spins for some 10 us, about as long as a change of a word takes to reach another core.
2. It yields its core, up to 200 us.
3. It sleeps, each time for a part of the time that it has waited so far, up to a longest sleep.

So a wait costs next to no CPU, and ends too late by at most that part of its length.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY
from wagma_rma.kernels.clock cimport wagma_now, wagma_relax, wagma_sleep, wagma_yield
from wagma_rma.waiting.ctrl_c cimport check_interrupt

cdef enum:
    SPINS = 24
    RELAXATIONS = 10  # in each spin
cdef double LATENESS = 0.06
cdef double YIELD_FOR = 200e-6
# Even a sleep this short takes twice its time: too long for ranks that differ by less, as balanced ranks do. So a wait
# yields first.
cdef double SHORTEST_SLEEP = 50e-6
cdef double LONGEST_SLEEP = 5e-3
cdef double CHECK_EVERY = 50e-3


cdef class Waiter:
    """The clock of one rank, and how it waits. Local.

    A signal handler or the watcher may raise an exception during a wait. It is kept as the *interruption*, because a
    rank must not leave a step half done: the code that waits chooses when to raise it.
    """

    def __cinit__(self, *args, **options):
        self.lateness = LATENESS
        self.longest_sleep = LONGEST_SLEEP

    cdef double now(self) noexcept nogil:
        """Return seconds on a clock that never goes back."""
        return wagma_now()

    cdef Wait begin(self, double until) noexcept nogil:
        """Begin a wait. No sleep goes on beyond `until`; after that time sleeps are as long as in any wait."""
        cdef Wait wait
        wait.since = wait.checked = self.now()
        wait.until = until
        wait.longest = self.longest_sleep
        wait.pauses = 0
        wait.rank = -1
        return wait

    cdef int pause(self, Wait* wait) except -1 nogil:
        """Pause between two polls of what is awaited."""
        cdef double now, seconds
        cdef int i, cut_short = 0
        wait.pauses += 1
        if wait.pauses <= SPINS:
            for i in range(RELAXATIONS):
                wagma_relax()
            return 0
        now = self.now()
        if now - wait.since < YIELD_FOR:
            wagma_yield()
        else:
            seconds = min(max((now - wait.since) * self.lateness, SHORTEST_SLEEP), wait.longest)
            if now < wait.until:
                seconds = min(seconds, wait.until - now)
            cut_short = wagma_sleep(seconds)
            self.slept = seconds
        now = self.now()
        if cut_short or now - wait.checked > CHECK_EVERY:
            wait.checked = now
            self.run_handlers(now - wait.since, wait.rank)
        return 0

    cdef int run_handlers(self, double waited, int rank) except -1 nogil:
        """Run signal handlers and the watcher after `waited` seconds. Keep what they raise as the interruption.

        Args:
            rank: the rank whose memory should answer; or -1 for a wait in which memory answers, and the watcher may
                load words.
        """
        if not self.interrupted:
            with gil:
                try:
                    PyErr_CheckSignals()  # on the main thread
                    check_interrupt()  # on others
                    if self.watcher is not None:
                        self.watcher(waited, rank)
                except BaseException as error:
                    self.interruption = error
                    self.interrupted = True
        return 0

    cdef int raise_interruption(self) except -1:
        """Raise the interruption, if there is one."""
        if self.interrupted:
            error, self.interruption = self.interruption, None
            self.interrupted = False
            self.raised = id(error)
            raise error
        return 0

    def wait_for(self, test, double longest=INFINITY):
        """Wait until `test()` is true, with sleeps of at most `longest` seconds. Return the seconds it took.

        Raises:
            BaseException: the interruption, from a signal handler (Ctrl-C) or from the watcher.
        """
        cdef Wait wait = self.begin(0)
        wait.longest = min(longest, self.longest_sleep)
        while not test():
            with nogil:
                self.pause(&wait)
            self.raise_interruption()
        return self.now() - wait.since

    def time(self):
        """Return the seconds on the waiter's clock."""
        return self.now()
