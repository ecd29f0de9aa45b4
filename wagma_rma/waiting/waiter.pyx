"""How a rank waits for other ranks without wearing out a core.

A wait spins for some 10 us (the time in which a rank on another core passes a word on), then yields its core, then
sleeps for a part of the time that it has waited. So a wait costs next to no CPU, and notices what it waits for at
most that part of its length too late.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY

cdef extern from "wagma_rma/kernels/clock.h" nogil:
    double wagma_now()
    void wagma_relax()
    void wagma_yield()
    int wagma_sleep(double seconds)

cdef enum:
    SPINS = 24
    RELAXATIONS = 10  # in each spin
cdef double LATENESS = 0.06
cdef double YIELD_FOR = 200e-6
# A sleep this short takes twice its time: too long for ranks that differ by less, as balanced ranks do.
cdef double SHORTEST_SLEEP = 50e-6
cdef double LONGEST_SLEEP = 5e-3
cdef double LOOK_EVERY = 50e-3


cdef class Waiter:
    """The clock of one rank, and its way of waiting. Local.

    An exception that a signal handler or the watcher raises in a wait is kept as the *interruption*: a rank must not
    leave a step half done, so the code that waits decides when to raise it.
    """

    def __cinit__(self, *args, **options):
        self.lateness = LATENESS
        self.longest_sleep = LONGEST_SLEEP

    cdef double now(self) noexcept nogil:
        """Return seconds on a clock that only goes forward."""
        return wagma_now()

    cdef Wait begin(self, double until) noexcept nogil:
        """Begin a wait whose sleeps end at `until`, or later once that has passed."""
        cdef Wait wait
        wait.since = wait.looked = self.now()
        wait.until = until
        wait.longest = self.longest_sleep
        wait.turns = 0
        wait.rank = -1
        return wait

    cdef int pause(self, Wait* wait) except -1 nogil:
        """Pause between two looks at what is awaited."""
        cdef double now, seconds
        cdef int i, cut_short = 0
        wait.turns += 1
        if wait.turns <= SPINS:
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
        if cut_short or now - wait.looked > LOOK_EVERY:
            wait.looked = now
            self.look(now - wait.since, wait.rank)
        return 0

    cdef int look(self, double waited, int rank) except -1 nogil:
        """Run signal handlers and the watcher after `waited` seconds; keep what they raise as the interruption.

        Args:
            rank: the rank whose memory should answer, or -1 for a wait for what ranks do: the watcher may then load
                their words.
        """
        if not self.interrupted:
            with gil:
                try:
                    PyErr_CheckSignals()
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
            raise error
        return 0

    def wait_for(self, test, double longest=INFINITY):
        """Wait until `test()` is true, with sleeps of `longest` seconds at most; return the seconds it took.

        Raises:
            BaseException: the interruption: what a signal handler (Ctrl-C) or the watcher has raised.
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
