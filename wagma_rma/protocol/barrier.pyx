"""Barriers of all ranks, which tell for which step they are, and whether a rank refuses it.

The hosts are the nodes of a tree. A node has a place for the ranks of its own host, and one for each host below it. Its
words lie at one rank of its host, the leader:

1. A rank that arrives tells its host what it has come for (`said`); then it adds one to `reached` there.
2. The last rank of a host marks their place (`node`), with what they have said: at the host's own node or, if no host is
   below it, at the one above. The rank that finds all places of a node marked sets its mark at the node above.
3. The rank that finds the root complete tells the end (`gathered`) to the root's host and the hosts below it, each
   leader the hosts below its own.

So a rank adds to one word, and waits for another one, of its own host. What concerns other hosts may be repeated after an
exception: a mark is set once, by a compare-and-swap, and all else are maxima of words that begin with the barrier's number.
An error's rank stands in words of its own (`refusing`, `refused`), which are looked at if `said`, `node` or `gathered` says
so. Ranks that have joined (``departures``) come to whatever step the others synchronise: `gathered` tells it.

*Calls.* With a quorum, each rank that arrives hands the number of its host's arrivals on to the root (`counted`). Who finds a
quorum there tells all hosts (`called`). Ranks that have joined arrive at once and do not count. Where fewer others are left
than the quorum, nobody needs to be called: when these have arrived, all have.
"""

cimport cython

from libc.stdlib cimport calloc, free
from wagma_rma.protocol.layout cimport ARITY
from wagma_rma.protocol.words cimport (ARRIVAL_BITS, MEMBER_BITS, REFUSED, SAID_BITS, mask, node_number, node_places,
                                       node_said, pack_node, said_synchronises, said_steps)

cdef enum:
    NOWHERE = -1  # of a node, and of a place at one: nothing is to be done there

# The code of a rank in `refusing` and `refused`: the greatest is told, so the lowest rank has the greatest.
cdef uint64_t CONTRADICTION = mask(MEMBER_BITS)

MISMATCH = -2   # the refuser of a barrier at which ranks have arrived for different steps


@cython.final
cdef class Barrier:
    """The barriers of one rank.

    Args:
        hosts: the number of each rank's host; numbers begin at 0, without gaps.
        quorum: how many ranks call the others by arriving first; the number of ranks: nobody is called.
        sync_period: a call is to a multiple of it.
    """

    def __cinit__(self, Window window, Layout layout, hosts, quorum=None, uint64_t sync_period=1):
        cdef int rank, host
        self.window = window
        self.layout = layout
        self.host_of = tuple(hosts)
        self.hosts = max(hosts) + 1
        self.host = hosts[window.rank]
        self.refuser = -1
        self.quorum = window.ranks if quorum is None else quorum
        self.sync_period = sync_period
        self.nodes = <Node*> calloc(self.hosts, sizeof(Node))
        self.counts = <uint64_t*> calloc(1 + ARITY, sizeof(uint64_t))
        if self.nodes is NULL or self.counts is NULL:
            raise MemoryError(f"Barrier: no memory for the table of {self.hosts} hosts")
        for rank in reversed(range(window.ranks)):
            host = hosts[rank]
            self.nodes[host].leader = rank
            self.nodes[host].ranks += 1
        for host in range(self.hosts):
            self.nodes[host].parent = (host - 1) // ARITY if host else NOWHERE
            self.nodes[host].place = (host - 1) % ARITY + 1 if host else NOWHERE
            self.nodes[host].first_child = ARITY * host + 1
            self.nodes[host].children = max(0, min(ARITY, self.hosts - self.nodes[host].first_child))
        self.leads = self.nodes[self.host].leader == window.rank
        self.at = NOWHERE

    def __dealloc__(self):
        free(self.nodes)
        free(self.counts)

    @property
    def leader(self):
        """The rank in whose window the words of this rank's host lie."""
        return self.nodes[self.host].leader

    @property
    def elastic(self):
        """Whether a quorum of arrivals calls the other ranks."""
        return self.is_elastic()

    cdef bint is_elastic(self) noexcept nogil:
        return self.quorum < <uint64_t> self.window.ranks

    def arrive(self, uint64_t step, uint64_t since, bint synchronises=True, bint refuses=False, int joining=0,
               bint calls=False):
        """Arrive at the next barrier. Local: what other hosts are to know is_over() tells them.

        Args:
            step: that this rank synchronises; the one after its last, if it has joined.
            since: the last synchronisation, the same on all ranks.
            synchronises: False if this rank has joined, and goes to whatever step others synchronise.
            refuses: this rank has found an error.
            joining: 1 if this rank has joined since it arrived last, -1 if its join() is over.
            calls: a quorum of arrivals calls the others to this step; if this rank has joined, to that of the others.
        """
        self.number += 1
        self.step, self.since, self.synchronises = step, since, synchronises
        self.refuser = -1
        self.said = (step - since) << 2 | synchronises << 1
        self.code = CONTRADICTION - 1 - self.window.rank if refuses else 0
        with nogil:
            # What this rank has written others see before its arrival; what it has read was read before. Pairs with
            # the load of `gathered`.
            self.window.read_fence()
            self.window.write_fence()
            self.count_in(1 + (<uint64_t> joining << ARRIVAL_BITS))
            self.calls = self.called_for() if calls and self.is_elastic() else 0
            self.at = self.host
            self.place = 0 if self.nodes[self.host].children else NOWHERE
            self.go_on(True)

    def is_over(self):
        """Return whether all ranks have arrived; then `refuser`, `step` and `all_joined` tell how. Local."""
        cdef bint over
        if self.passed == self.number:
            return True
        with nogil:
            self.go_on(False)
            over = self.has_ended(self.host, self.number)
            if over and self.leads and self.host:
                self.tell(self.nodes[self.host].first_child, self.nodes[self.host].children)
        if not over:
            return False
        self.passed = self.number
        self.all_joined = not said_synchronises(self.said)
        if not self.synchronises:
            self.step = self.since + said_steps(self.said)
        if self.code:
            self.refuser = MISMATCH if self.code == CONTRADICTION else <int> (CONTRADICTION - 1 - self.code)
        return True

    cdef bint has_ended(self, int host, uint64_t number) except -1 nogil:
        """Return whether a host has been told the end of a barrier; if so, `said` and `code` are what it was told."""
        cdef int leader = self.nodes[host].leader
        cdef uint64_t gathered = self.load_word(leader, self.layout.gathered)
        if gathered >> SAID_BITS < number:
            return False
        self.said = gathered & mask(SAID_BITS)
        self.code = self.load_word(leader, self.layout.refused) & mask(SAID_BITS) if gathered & REFUSED else 0
        return True

    def next_is_over(self, int rank):
        """Return whether all ranks have arrived at the barrier after the last that this rank has passed. Local.

        Hosts are told one after another, so a rank of another host may know it before, and go on. Then this rank tells
        its own host: who should have done so may have departed meanwhile.

        Args:
            rank: whose host is asked too.
        """
        cdef int host = self.host_of[rank]
        cdef bint over
        with nogil:
            over = self.has_ended(self.host, self.passed + 1)
            if not over and self.has_ended(host, self.passed + 1):
                self.tell(self.host, 1)
                over = True
        return over

    cdef int count_in(self, uint64_t added) except -1 nogil:
        """Count this rank in at its host, after what it has to say."""
        cdef int leader = self.nodes[self.host].leader
        cdef uint64_t said, desired, known = 0, found = 0
        self.refuse(leader, self.code)
        said = self.number << SAID_BITS | self.said | (REFUSED if self.code else 0)
        while True:
            self.window.fetch_max(leader, self.layout.said, said, &known)
            self.window.complete()
            if known >> SAID_BITS < self.number:
                break
            desired = max(known, said) | ((known | said) & REFUSED)  # the greater may hide that the other refuses
            if self.contradicts(known):
                self.refuse(leader, CONTRADICTION)
                desired |= REFUSED
            if desired == max(known, said):
                break
            said = desired
        # An exception leaves it open whether this has happened.
        self.lost = True
        self.window.fetch_add(leader, self.layout.reached, added, &found)
        self.window.complete()
        self.lost = False
        found += added
        self.count = <int64_t> (found & mask(ARRIVAL_BITS)) - (<int64_t> self.number - 1) * self.nodes[self.host].ranks
        self.complete = self.count == self.nodes[self.host].ranks
        self.count = max(0, self.count - <int64_t> (found >> ARRIVAL_BITS))
        if self.complete:
            self.said = self.load_word(leader, self.layout.said) & mask(SAID_BITS)
            self.learn_code(leader)
        return 0

    cdef int go_on(self, bint near) except -1 nogil:
        """Tell nodes what has come together below them, as far as it is complete or calls; at the root tell the hosts.

        What is left when an exception ends it, as where another host does not answer, the next call does.

        Args:
            near: do only what no other host is needed for.
        """
        while self.at != NOWHERE:
            if near and self.at != self.host:
                return 0
            if self.calls and self.is_called():
                self.calls = 0
            # A part of a node's arrivals is of use for calls only.
            if not self.complete and self.calls == 0:
                self.at = NOWHERE
            elif self.place != NOWHERE:
                if self.calls:
                    self.tell_count()
                if self.complete and not self.set_mark():
                    self.at = NOWHERE  # the barrier is over
                    return 0
                if self.calls and not self.complete:
                    self.sum_counts()
                self.place = NOWHERE
            elif self.at:
                self.place, self.at = self.nodes[self.at].place, self.nodes[self.at].parent
            elif near and self.hosts > 1:
                return 0
            else:
                if self.complete:
                    self.tell(0, 1 + self.nodes[0].children)
                elif self.count >= <int64_t> self.quorum:
                    self.call()
                self.at = NOWHERE
        return 0

    cdef bint set_mark(self) except -1 nogil:
        """Mark a place of a node, with what the ranks there have said; return False if the barrier is over.

        `complete`, `said` and `code` then tell of the node. A rank that repeats this finds its mark.
        """
        cdef int leader = self.nodes[self.at].leader
        cdef uint64_t places = mask(1 + self.nodes[self.at].children), mark = <uint64_t> 1 << self.place
        cdef uint64_t said = self.said & ~REFUSED, known, desired, found = 0
        self.refuse(leader, self.code)
        # The last to come, for whom all others wait, finds this in most cases.
        known = pack_node(self.number, places ^ mark, said)
        desired = pack_node(self.number, places, self.said)
        while True:
            self.window.compare_and_swap(leader, self.layout.node, known, desired, &found)
            self.window.complete()
            if found == known:
                break
            known = found
            if node_number(known) == node_number(pack_node(self.number + 1, 0, 0)):
                return False
            desired = pack_node(self.number, mark, self.said)
            if node_number(known) == node_number(desired):
                if self.contradicts(node_said(known)):
                    self.refuse(leader, CONTRADICTION)
                    self.said |= REFUSED
                desired = pack_node(self.number, mark | node_places(known),
                                    max(said, node_said(known) & ~REFUSED) | ((self.said | node_said(known)) & REFUSED))
                if desired == known:
                    break
        self.complete = node_places(desired) == places
        self.said = node_said(desired)
        return self.learn_code(leader)

    cdef bint contradicts(self, uint64_t said) noexcept nogil:
        """Return whether what others have said can't be met: they synchronise another step, or have gone past this one."""
        cdef uint64_t steps = said_steps(said), own = said_steps(self.said)
        if said_synchronises(said) and said_synchronises(self.said):
            return steps != own
        # A rank that has joined says the step after its last.
        return (said_synchronises(said) and steps < own) or (said_synchronises(self.said) and own < steps)

    cdef int refuse(self, int leader, uint64_t code) except -1 nogil:
        """Tell a host that a rank refuses the barrier, if the code says so, before anyone may look for it."""
        if code:
            self.window.fetch_max(leader, self.layout.refusing, self.number << SAID_BITS | code, &self.ignored)
            self.window.complete()
        return 0

    cdef bint learn_code(self, int leader) except -1 nogil:
        """Load which rank refuses the barrier, if `said` tells that one does; return False if the barrier is over."""
        cdef uint64_t refusing
        self.code = 0
        if self.said & REFUSED:
            refusing = self.load_word(leader, self.layout.refusing)
            self.code = refusing & mask(SAID_BITS)
            return refusing >> SAID_BITS == self.number
        return True

    cdef int tell(self, int first, int count) except -1 nogil:
        """Tell some hosts that all ranks have arrived, and how: `said` and `code`."""
        cdef int host
        if self.code:
            for host in range(first, first + count):
                self.window.fetch_max(self.nodes[host].leader, self.layout.refused,
                                      self.number << SAID_BITS | self.code, &self.ignored)
            self.window.complete()
        for host in range(first, first + count):
            self.window.fetch_max(self.nodes[host].leader, self.layout.gathered,
                                  self.number << SAID_BITS | self.said, &self.ignored)
        return self.window.complete()

    cdef uint64_t load_word(self, int rank, int64_t word) except? 0 nogil:
        """Return a word of a rank."""
        cdef uint64_t found = 0
        self.window.load(rank, word, 1, &found)
        self.window.complete()
        return found

    # Calls.

    cdef uint64_t called_for(self) except? 0 nogil:
        """Return to which step this rank's arrival may call the others, or 0.

        A rank that has joined calls to the step of those that have arrived at its host: their number is too small by one
        until it arrives, and right then. A call is to a multiple of the period: to other steps all come by themselves,
        and average() would lead elsewhere.
        """
        cdef uint64_t step = self.step, said
        if not self.synchronises:
            said = self.load_word(self.nodes[self.host].leader, self.layout.said)
            if not said_synchronises(said) or said >> SAID_BITS != self.number:
                return 0
            step = self.since + said_steps(said)
        return 0 if step % self.sync_period else step

    cdef bint is_called(self) except -1 nogil:
        """Return whether this host has heard the call."""
        return self.load_word(self.nodes[self.host].leader, self.layout.called) >= self.calls

    cdef int tell_count(self) except -1 nogil:
        """Begin to tell a node how many ranks have arrived at a place."""
        self.window.fetch_max(self.nodes[self.at].leader, self.layout.counted + 8 * self.place,
                              self.number << SAID_BITS | <uint64_t> self.count, &self.ignored)
        return 0

    cdef int sum_counts(self) except -1 nogil:
        """Have `count` say how many ranks have arrived at a node."""
        cdef int places = 1 + self.nodes[self.at].children, place
        self.window.complete()  # what this rank has told, before others are looked at
        self.window.load(self.nodes[self.at].leader, self.layout.counted, places, self.counts)
        self.window.complete()
        self.count = 0
        for place in range(places):
            if self.counts[place] >> SAID_BITS == self.number:
                self.count += self.counts[place] & mask(SAID_BITS)
        return 0

    cdef int call(self) except -1 nogil:
        """Call all ranks, by a word of each host."""
        cdef int host
        for host in range(self.hosts):
            self.window.fetch_max(self.nodes[host].leader, self.layout.called, self.calls, &self.ignored)
        return self.window.complete()

    def called(self):
        """Return the last step to which a quorum has called the others. Local."""
        cdef uint64_t called
        with nogil:
            called = self.load_word(self.nodes[self.host].leader, self.layout.called)
        return called
