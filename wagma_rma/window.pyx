"""The verbs that the protocol needs of any memory that ranks share.

A window is a piece of memory per rank, of the same size at each. A part of it is 64-bit words, which
ranks meet in by atomics only; the rest is bulk memory, which its owner writes and the others read.

``Window`` states the verbs and their meaning, and owns what all windows share: the clock and the way of
waiting. ``SharedWindow`` is the memory of one host, ``RemoteWindow`` that of many.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport INFINITY

cdef extern from "atomics.h" nogil:
    double wagma_now()
    void wagma_relax()
    void wagma_yield()
    int wagma_sleep(double seconds)


# A wait spins for some 10 us (what a rank on another core needs to pass a chunk word), then gives its core away to
# whoever wants it, then sleeps for a part of the time it has waited: all but free, and late by no more than that part.
# The shortest sleep takes twice its time, so it is not for ranks that differ by less, which is what balanced ones do.
cdef enum:
    SPINS = 24
    RELAXATIONS = 10
cdef double LATENESS = 0.06
cdef double YIELD_FOR = 200e-6
cdef double SHORTEST_SLEEP = 50e-6
cdef double LONGEST_SLEEP = 5e-3
cdef double LOOK_EVERY = 50e-3


cdef int abstract(Window window, str verb) except -1:
    raise TypeError(f"{type(window).__name__} has no verb {verb}()")


# A rank that holds a claim, or an activation, for longer has been stopped or preempted: a time slice or so.
cdef double LEAST_TAKE_OVER = 2e-3


cdef class Window:
    """Memory of several ranks, and the verbs on it.

    Not used by itself: a subclass gives the verbs their memory. Words and bulk memory are addressed by
    rank and byte offset. Verbs run without the GIL and are local unless the subclass says otherwise.
    """

    def __cinit__(self):
        self.least_take_over = LEAST_TAKE_OVER
        self.lateness = LATENESS
        self.longest_sleep = LONGEST_SLEEP

    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil:
        """Load `count` consecutive words, each of them atomically."""
        with gil:
            return abstract(self, "load")

    cdef int store(self, int rank, int64_t word, uint64_t value) except -1 nogil:
        """Store a word atomically. Only before anyone else can meet it: no other verb mixes with it."""
        with gil:
            return abstract(self, "store")

    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil:
        """Add to a word, modulo 2^64."""
        with gil:
            return abstract(self, "fetch_add")

    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil:
        """Raise a word to `value` if it is smaller; both are below 2^63, since an MPI may take them for signed."""
        with gil:
            return abstract(self, "fetch_max")

    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil:
        """Swap a word if it holds `expected`; *found == expected says that the swap was made."""
        with gil:
            return abstract(self, "compare_and_swap")

    cdef int complete(self) except -1 nogil:
        """Complete all word operations started so far, at this rank and at their targets."""
        with gil:
            return abstract(self, "complete")

    cdef char* own(self, int64_t offset) noexcept nogil:
        """Point into this rank's own memory."""
        return NULL

    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil:
        """Say that a range of own() has been written; nobody need see it before the next write_fence()."""
        with gil:
            return abstract(self, "wrote")

    cdef int read(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                  const void** bytes) except -1 nogil:
        """Start a bulk read: *bytes holds the range after complete_reads(lane), until the same (lane, source)
        is read again. Where the memory is mapped nothing is copied: the bytes are then read as they are used."""
        with gil:
            return abstract(self, "read")

    cdef int complete_reads(self, int lane) except -1 nogil:
        """Complete the bulk reads of a lane."""
        with gil:
            return abstract(self, "complete_reads")

    cdef int prepare_reads(self, int sources, int64_t nbytes) except -1:
        """Make room for reads from `sources` ranks in each lane, of at most `nbytes` each."""
        return abstract(self, "prepare_reads")

    cdef bint is_near(self, int rank) noexcept nogil:
        """Say whether the bulk memory of a rank is on this host, so that reading it moves nothing over a network."""
        return True

    cdef int write_fence(self) except -1 nogil:
        """Make all bulk writes and words of this rank so far visible before any later write of it."""
        with gil:
            return abstract(self, "write_fence")

    cdef int read_fence(self) except -1 nogil:
        """Have all bulk reads so far made before any later verb."""
        with gil:
            return abstract(self, "read_fence")

    cdef double now(self) noexcept nogil:
        """Return seconds on a clock that only goes forward."""
        return wagma_now()

    cdef Wait wait(self, double until) noexcept nogil:
        """Begin a wait whose sleeps end at `until`, or later once that has passed."""
        cdef Wait wait
        wait.since = wait.looked = self.now()
        wait.until = until
        wait.longest = self.longest_sleep
        wait.turns = 0
        wait.rank = -1
        return wait

    cdef int pause(self, Wait* wait) except -1 nogil:
        """Pause between two looks at what is awaited: spin, then yield, then sleep.

        What a signal or the watcher raises is kept, and `interrupted` set: a rank must not leave a step half
        done, so who waits decides when to raise_interruption().
        """
        cdef double now, nap
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
            nap = min(max((now - wait.since) * self.lateness, SHORTEST_SLEEP), wait.longest)
            if now < wait.until:
                nap = min(nap, wait.until - now)
            cut_short = wagma_sleep(nap)
            self.slept = nap
        now = self.now()
        if cut_short or now - wait.looked > LOOK_EVERY:
            wait.looked = now
            self.look(now - wait.since, wait.rank)
        return 0

    cdef int look(self, double waited, int rank) except -1 nogil:
        """Ask signals and the watcher, after `waited` seconds, whether to go on; keep what they raise.

        `rank` is the one whose memory should answer, or -1 if the wait is for what ranks do: the watcher may then
        look at their words.
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
        """Raise what interrupted a wait, if anything did."""
        if self.interrupted:
            error, self.interruption = self.interruption, None
            self.interrupted = False
            raise error
        return 0

    def wait_for(self, test, double longest=INFINITY):
        """Wait until `test()` is true, with sleeps of `longest` seconds at most; return the seconds it took.

        Ctrl-C and the watcher get through.
        """
        cdef Wait wait = self.wait(0)
        wait.longest = min(longest, self.longest_sleep)
        while not test():
            with nogil:
                self.pause(&wait)
            self.raise_interruption()
        return self.now() - wait.since

    def time(self):
        """Return the window's time in seconds."""
        return self.now()
