"""The record in which the members of a group meet: arrivals, the quorum, and which snapshots contribute.

A record lies in the window of one member, its home. Its state moves one way at each step, by compare-and-swap:

    GATHERING    members arrive
    ACTIVATING   the group is complete, or a member's patience is over: contributions are being written
    OPEN         the contributions stand, and stay

Any member can perform any of these moves, so nobody depends on a member that has stopped.
"""

cimport cython

from libc.stdlib cimport calloc, free
from libc.string cimport memset
from wagma_rma.protocol.words cimport (ACTIVATING, GATHERING, OPEN, contribution_age, contribution_slot,
                                       pack_contribution, pack_state, published_slot, published_step, state_arrivals,
                                       state_phase, word_step)
from wagma_rma.waiting.waiter cimport Wait


@cython.final
cdef class Record:
    """The record of one step at a time, as one rank uses it.

    Args:
        turn: this rank's groups.
        group_period: steps from one group step to the next.
    """

    def __cinit__(self, Window window, Layout layout, Snapshots snapshots, Turn turn, uint64_t group_period):
        cdef int most = layout.group_size
        self.window = window
        self.waiter = window.waiter
        self.layout = layout
        self.snapshots = snapshots
        self.calls = snapshots.calls
        self.turn = turn
        self.group_period = group_period
        self.contributions = <uint64_t*> calloc(most, sizeof(uint64_t))
        self.found = <uint64_t*> calloc(most, sizeof(uint64_t))
        self.swapped = <uint64_t*> calloc(most, sizeof(uint64_t))
        if self.contributions is NULL or self.found is NULL or self.swapped is NULL:
            raise MemoryError("Record: no memory for the table of members")

    def __dealloc__(self):
        free(self.contributions)
        free(self.found)
        free(self.swapped)

    cdef int select(self, uint64_t step) except -1 nogil:
        """Use the record of a group step from now on."""
        self.step = step
        self.number = step // self.group_period
        self.group = self.turn.at(self.number)
        self.home = self.group.ranks[self.number % <uint64_t> self.group.size]
        self.initiated = False
        self.seconds_waited = 0
        self.joined = 0
        self.waiting = False
        memset(self.contributions, 0, self.layout.group_size * sizeof(uint64_t))
        assert self.group.ranks[self.group.me] == self.window.rank
        return 0

    cdef int swap_state(self, int phase, int arrivals, bint* swapped) except -1 nogil:
        """Move the record's state on from what was last seen of it."""
        cdef uint64_t desired = pack_state(self.step, phase, arrivals), found
        self.window.compare_and_swap(self.home, self.layout.state(self.number), self.state, desired, &found)
        self.window.complete()
        swapped[0] = found == self.state
        self.state = desired if swapped[0] else found
        return 0

    cdef int arrive(self) except -1 nogil:
        """Count this rank in while the record gathers. The last member to arrive moves it to ACTIVATING."""
        cdef int arrivals
        cdef bint swapped = False
        self.window.load(self.home, self.layout.state(self.number), 1, &self.state)
        self.window.complete()
        self.was_open = word_step(self.state) == self.step and state_phase(self.state) == OPEN
        while not swapped:
            if word_step(self.state) > self.step:
                with gil:
                    raise RuntimeError(
                        f"average: rank {self.window.rank} finds step {word_step(self.state)} in the record of "
                        f"step {self.step}; this is a defect of wagma_rma")
            if word_step(self.state) < self.step:
                arrivals = 1
            elif state_phase(self.state) == GATHERING:
                arrivals = state_arrivals(self.state) + 1
            else:
                return 0
            self.swap_state(ACTIVATING if arrivals == self.group.size else GATHERING, arrivals, &swapped)
            self.initiated = swapped and arrivals == self.group.size
        return 0

    cdef int wait_until_open(self, int quorum, double patience) except -1 nogil:
        """Wait for arrivals while patience lasts or the quorum is missing, then see that the record opens.

        Members that have joined (GroupAverager.join) do not arrive: if fewer members than the quorum have not joined,
        all of these are enough. An interruption ends the wait as the end of patience does: nobody may leave a record
        that is not open. So does a call to a synchronisation: members that have gone there do not arrive.
        """
        cdef Wait wait = self.waiter.begin(0)
        cdef double activating_since = -1
        cdef bint swapped
        wait.until = wait.since + patience
        self.waiting = True
        while state_phase(self.state) != OPEN:
            if state_phase(self.state) == GATHERING:
                if ((self.waiter.now() >= wait.until and self.has_quorum(quorum))
                        or self.waiter.interrupted or self.calls.is_called(self.step)):
                    self.swap_state(ACTIVATING, state_arrivals(self.state), &swapped)
                    self.initiated = swapped
                    continue
                self.waiter.pause(&wait)
            elif self.initiated or 0 <= activating_since < self.waiter.now() - self.window.least_take_over:
                # This rank's own activation, or that of a rank which seems to have stopped in it.
                self.activate()
            else:
                if activating_since < 0:
                    activating_since = self.waiter.now()
                self.waiter.pause(&wait)
            self.window.load(self.home, self.layout.state(self.number), 1, &self.state)
            self.calls.begin_look()
            self.window.complete()
        self.waiting = False
        if not self.has_quorum(quorum):
            # An interruption has ended another member's wait for the quorum. Its cause may concern this rank too.
            self.waiter.run_handlers(self.waiter.now() - wait.since, -1)
        if wait.pauses:
            self.seconds_waited = self.waiter.now() - wait.since
        return 0

    cdef bint has_quorum(self, int quorum) noexcept nogil:
        """Return whether all have arrived that the average needs."""
        return state_arrivals(self.state) >= min(quorum, self.group.size - self.joined)

    cdef int activate(self) except -1 nogil:
        """Write every member's contribution into the record and open it. Several members may do so at once."""
        cdef int m
        cdef bint swapped
        # The record first, then the pins: the swap of a member that comes too late must fail.
        self.load_contributions(False)
        for m in range(self.group.size):
            if word_step(self.contributions[m]) != self.step:
                self.snapshots.pin(self.group.ranks[m], &self.found[m])
        self.window.complete()
        for m in range(self.group.size):
            self.swapped[m] = self.contributions[m]
            if word_step(self.contributions[m]) == self.step:
                continue
            if published_step(self.found[m]) > self.step:
                # The member has left this step, so its contribution has been written by another.
                self.swapped[m] = ~self.contributions[m]
                continue
            self.window.compare_and_swap(
                self.home, self.layout.contribution(self.number, m), self.contributions[m],
                pack_contribution(self.step, self.step - published_step(self.found[m]), published_slot(self.found[m])),
                &self.swapped[m])
        self.window.complete()
        for m in range(self.group.size):
            if self.swapped[m] != self.contributions[m]:
                self.snapshots.unpin(self.group.ranks[m], published_slot(self.found[m]))
        self.swap_state(OPEN, state_arrivals(self.state), &swapped)
        return 0

    cdef int load_contributions(self, bint opened) except -1 nogil:
        """Load the words of all contributions. Once the record is open all of them are there, and stay."""
        cdef int m
        self.window.load(self.home, self.layout.contribution(self.number, 0), self.group.size, self.contributions)
        self.window.complete()
        for m in range(self.group.size):
            assert not opened or word_step(self.contributions[m]) == self.step
        return 0

    cdef uint64_t own_age(self) noexcept nogil:
        """Return the age of this rank's contribution."""
        return contribution_age(self.contributions[self.group.me])

    cdef int unpin_all(self) except -1 nogil:
        """Give back the pins of a record whose chunks are all done, and tell the members that were absent."""
        cdef int m
        for m in range(self.group.size):
            self.snapshots.unpin(self.group.ranks[m], contribution_slot(self.contributions[m]))
        for m in range(self.group.size):
            if contribution_age(self.contributions[m]) != 0:
                self.window.fetch_max(self.group.ranks[m], self.layout.latest, self.step, &self.found[m])
        return self.window.complete()
