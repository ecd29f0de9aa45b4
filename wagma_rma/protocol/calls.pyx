"""The word by which a quorum of arrivals calls the other ranks to a synchronisation.

A rank loads the word of its host together with the first words of a step, and with each look at a record that is not open.
So a call costs it no round trip.

A rank that is behind may find that its group has done the last step before the synchronisation without it. The others are
then computing the step that calls. If it began its own step now, they would wait for all of it; so it first waits for the
call: half as long as its own step takes, or a patience that the user has chosen.
"""

cimport cython

from wagma_rma.protocol.layout cimport Layout
from wagma_rma.waiting.waiter cimport Wait


@cython.final
cdef class Calls:
    """The calls that one rank hears. Local.

    Args:
        leader: the rank in whose window the word of this host lies; -1: nobody is called.
        sync_period, group_period: of the averager.
    """

    def __cinit__(self, Window window, Layout layout, int leader=-1, uint64_t sync_period=1, uint64_t group_period=1):
        self.window = window
        self.waiter = window.waiter
        self.leader = leader
        self.sync_period, self.group_period = sync_period, group_period
        self.word, self.latest_word = layout.called, layout.latest

    cdef int begin_look(self) except -1 nogil:
        """Begin to load the words; is_called() and is_due() may be asked after complete()."""
        if self.leader >= 0:
            self.window.load(self.leader, self.word, 1, &self.called)
            self.window.load(self.window.rank, self.latest_word, 1, &self.latest)
        return 0

    cdef bint is_called(self, uint64_t step) noexcept nogil:
        """Return whether this rank was called, when it looked last, to a step after the last synchronisation.

        Args:
            step: any group step since. A call is to the next multiple of the period, so one that is older is to an
                earlier step.
        """
        return self.called >= step

    cdef bint is_due(self, uint64_t step) noexcept nogil:
        """Return whether a call is due, as this rank saw when it looked last: its group was at the last group step before.

        Args:
            step: the group step that this rank is about to do.
        """
        cdef uint64_t synchronized = (step // self.sync_period + 1) * self.sync_period
        return self.leader >= 0 and self.latest >= (synchronized - 1) // self.group_period * self.group_period >= step

    cdef int wait(self, uint64_t step) except -1 nogil:
        """Wait for a call that is due, for `patience` seconds at most."""
        cdef Wait wait
        self.seconds_waited = 0
        if not self.is_due(step) or self.is_called(step):
            return 0
        wait = self.waiter.begin(0)
        wait.until = wait.since + self.patience
        while self.waiter.now() < wait.until and not self.is_called(step) and not self.waiter.interrupted:
            self.waiter.pause(&wait)
            self.begin_look()
            self.window.complete()
        self.seconds_waited = self.waiter.now() - wait.since
        return 0
