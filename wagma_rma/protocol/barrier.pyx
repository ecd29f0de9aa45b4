"""Barriers of all ranks, which tell for which step they are, and whether a rank refuses it.

The hosts are the nodes of a tree. The words of a node lie at one rank of its host, the leader:

1. A rank that arrives tells its host what it has to say, the step (`newest`) and perhaps that it refuses (`refusing`);
   then it adds one to `reached` there.
2. The last rank of a host tells the node what its ranks have said, and then looks whether the hosts below have told
   theirs. Whoever finds a node complete tells the node above, and looks there.
3. Who finds the root complete tells the end (`gathered`) to the root's host and the hosts below it, each leader the hosts
   below its own.

So a rank adds to one word, and waits for another one, of its own host. All else is a maximum of words that begin with the
number of the barrier: it may be repeated, and several ranks may do it at once. Ranks that have joined (``departures``) come
to whatever step the others synchronise: it is told with the end (`agreed`).

*Calls.* With a quorum, each rank that arrives has its node's number of arrivals handed on to the root (`counted`). Who finds
a quorum there tells all hosts (`called`). Ranks that have joined arrive at once and do not count. Where fewer others are left
than the quorum, nobody needs to be called: when these have arrived, all have.
"""

cimport cython

from libc.stdlib cimport calloc, free
from wagma_rma.protocol.words cimport ARRIVAL_BITS, MEMBER_BITS, SAID_BITS, mask

# Hosts below a node: with one level less, a barrier takes three round trips less; the last rank pays for each host.
cdef enum:
    ARITY = 16

cdef enum:
    NOWHERE = -1  # of a node, and of a place at one: nothing is to be done there

# The code of a rank in `refusing` and `gathered`: the greatest is told, so the lowest rank has the greatest.
cdef uint64_t CONTRADICTION = mask(MEMBER_BITS)

MISMATCH = -2   # the refuser of a barrier at which ranks have arrived for different steps


def most_children(int hosts):
    """Return how many hosts a node of a tree of so many hosts has below it, at most."""
    return min(ARITY, hosts - 1)


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
        self.words = <uint64_t*> calloc((1 + ARITY) * NODE_WORDS, sizeof(uint64_t))
        if self.nodes is NULL or self.words is NULL:
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
        free(self.words)

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
        self.newest = (step - since) << 1 | synchronises
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
        cdef uint64_t code
        cdef bint over
        if self.passed == self.number:
            return True
        with nogil:
            self.go_on(False)
            over = self.look()
        if not over:
            return False
        self.passed = self.number
        self.all_joined = not self.agreed & 1
        if not self.synchronises:
            self.step = self.since + (self.agreed & mask(SAID_BITS)) // 2
        code = self.gathered & mask(MEMBER_BITS)
        if code:
            self.refuser = MISMATCH if code == CONTRADICTION else <int> (CONTRADICTION - 1 - code)
        return True

    cdef bint look(self) except -1 nogil:
        """Return whether this rank's barrier is over; then have the hosts below told."""
        cdef Node* node = &self.nodes[self.host]
        if not self.has_ended(self.host, self.number):
            return False
        if self.leads and self.host:
            self.tell(node.first_child, node.children)
        return True

    cdef bint has_ended(self, int host, uint64_t number) except -1 nogil:
        """Return whether a host has been told the end of a barrier; if so, `gathered` and `agreed` are what it was told."""
        cdef uint64_t[2] words
        self.window.load(self.nodes[host].leader, self.layout.gathered, 2, words)
        self.window.complete()
        self.gathered, self.agreed = words[0], words[1]
        return self.gathered >> SAID_BITS >= number and self.agreed >> SAID_BITS >= number

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
        cdef uint64_t said = self.number << SAID_BITS, newest = 0, found = 0
        self.window.fetch_max(leader, self.layout.newest, said | self.newest, &newest)
        self.window.fetch_max(leader, self.layout.refusing, said | self.code, &self.ignored)
        self.window.complete()
        if newest >> SAID_BITS == self.number and contradiction(newest & mask(SAID_BITS), self.newest):
            self.window.fetch_max(leader, self.layout.refusing, said | CONTRADICTION, &self.ignored)
            self.window.complete()
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
            self.window.load(leader, self.layout.newest, 2, self.words)
            self.window.complete()
            self.newest, self.code = self.words[0] & mask(SAID_BITS), self.words[1] & mask(SAID_BITS)
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
            # A part of a node's arrivals is of use for calls only.
            if not self.complete and (self.calls == 0 or self.is_called()):
                self.at = NOWHERE
            elif self.place != NOWHERE:
                self.say()
                if self.gather():
                    self.place = NOWHERE
                else:
                    self.at = NOWHERE  # the barrier is over
            elif self.at:
                self.place, self.at = self.nodes[self.at].place, self.nodes[self.at].parent
            elif near and self.hosts > 1:
                return 0
            else:
                if self.complete:
                    self.gathered = self.number << SAID_BITS | self.code
                    self.agreed = self.number << SAID_BITS | self.newest
                    self.tell(0, 1 + self.nodes[0].children)
                elif self.count >= <int64_t> self.quorum:
                    self.call()
                self.at = NOWHERE
        return 0

    cdef int say(self) except -1 nogil:
        """Tell a node what has come together at one of the places below it."""
        cdef int leader = self.nodes[self.at].leader
        cdef int64_t words = self.layout.said + 8 * NODE_WORDS * self.place
        cdef uint64_t said = self.number << SAID_BITS
        if self.complete:
            self.window.fetch_max(leader, words, said | self.newest, &self.ignored)
            self.window.fetch_max(leader, words + 8, said | self.code, &self.ignored)
        if self.is_elastic():
            self.window.fetch_max(leader, words + 16, said | <uint64_t> self.count, &self.ignored)
        return self.window.complete()

    cdef bint gather(self) except -1 nogil:
        """Load what has been told at all places of a node; return False if the barrier is over.

        `complete` then says whether all have been told this barrier, `newest` and `code` what, `count` how many ranks
        have arrived.
        """
        cdef int leader = self.nodes[self.at].leader, places = 1 + self.nodes[self.at].children
        cdef int loaded = NODE_WORDS if self.is_elastic() else NODE_WORDS - 1, place
        cdef uint64_t newest, refusing, counted
        for place in range(places):
            self.window.load(leader, self.layout.said + 8 * NODE_WORDS * place, loaded,
                             &self.words[NODE_WORDS * place])
        self.window.complete()
        self.complete, self.newest, self.code, self.count = True, 0, 0, 0
        for place in range(places):
            newest, refusing = self.words[NODE_WORDS * place], self.words[NODE_WORDS * place + 1]
            if newest >> SAID_BITS > self.number or refusing >> SAID_BITS > self.number:
                return False
            if newest >> SAID_BITS < self.number or refusing >> SAID_BITS < self.number:
                self.complete = False
            else:
                newest, refusing = newest & mask(SAID_BITS), refusing & mask(SAID_BITS)
                self.code = max(self.code, CONTRADICTION if contradiction(self.newest, newest) else refusing)
                self.newest = max(self.newest, newest)
            counted = self.words[NODE_WORDS * place + 2]
            if self.is_elastic() and counted >> SAID_BITS == self.number:
                self.count += counted & mask(SAID_BITS)
        return True

    cdef int tell(self, int first, int count) except -1 nogil:
        """Tell some hosts that all ranks have arrived, and how: `gathered` and `agreed`."""
        cdef int host
        for host in range(first, first + count):
            self.window.fetch_max(self.nodes[host].leader, self.layout.gathered, self.gathered, &self.ignored)
            self.window.fetch_max(self.nodes[host].leader, self.layout.agreed, self.agreed, &self.ignored)
        return self.window.complete()

    # Calls.

    cdef uint64_t called_for(self) except? 0 nogil:
        """Return to which step this rank's arrival may call the others, or 0.

        A rank that has joined calls to the step of those that have arrived at its host: their number is too small by one
        until it arrives, and right then. A call is to a multiple of the period: to other steps all come by themselves,
        and average() would lead elsewhere.
        """
        cdef uint64_t step = self.step, newest = 0
        if not self.synchronises:
            self.window.load(self.nodes[self.host].leader, self.layout.newest, 1, &newest)
            self.window.complete()
            if not newest & 1 or newest >> SAID_BITS != self.number:
                return 0
            step = self.since + (newest & mask(SAID_BITS)) // 2
        return 0 if step % self.sync_period else step

    cdef bint is_called(self) except -1 nogil:
        """Return whether this host has heard the call."""
        cdef uint64_t called = 0
        self.window.load(self.nodes[self.host].leader, self.layout.called, 1, &called)
        self.window.complete()
        return called >= self.calls

    cdef int call(self) except -1 nogil:
        """Call all ranks, by a word of each host."""
        cdef int host
        for host in range(self.hosts):
            self.window.fetch_max(self.nodes[host].leader, self.layout.called, self.calls, &self.ignored)
        return self.window.complete()

    def called(self):
        """Return the last step to which a quorum has called the others. Local."""
        cdef uint64_t called = 0
        with nogil:
            self.window.load(self.nodes[self.host].leader, self.layout.called, 1, &called)
            self.window.complete()
        return called


cdef bint contradiction(uint64_t known, uint64_t newest) noexcept nogil:
    """Return whether ranks that say these can't meet: they synchronise different steps, or one has gone past it.

    Args:
        known, newest: a step, and in the lowest bit whether it is synchronised (else it is the next one of a rank that
            has joined).
    """
    if known & newest & 1:
        return known != newest
    return (known & 1 and known >> 1 < newest >> 1) or (newest & 1 and newest >> 1 < known >> 1)
