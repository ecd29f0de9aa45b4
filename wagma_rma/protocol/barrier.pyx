"""Barriers of all ranks, which tell for which step they are, and whether a rank refuses it.

The hosts are the nodes of a tree. The words of a node lie at one rank of its host, the leader:

1. A rank that arrives adds one to `reached` of its host, after what it has to say: the step (`newest`), and perhaps that
   it refuses (`refusing`).
2. The last rank that a node waits for adds the node's arrivals to the parent's, with what they have said.
3. The last rank of all tells the end (`gathered`): the root's host and the hosts below it, each leader the hosts below
   its own.

So a rank adds to one word, and waits for another one, of its own host. Ranks that have joined (``departures``) come to
whatever step the others synchronise: for them that step is told before the end (`agreed`).

*Calls.* With a quorum, the rank whose arrival completes it tells all hosts (`called`), and arrivals are forwarded as they
come: a rank claims all that its node has not forwarded (a compare-and-swap of `forwarded`), so arrivals at about the same
time travel together. Ranks that have joined arrive at once and do not count. Where fewer others are left than the quorum,
nobody needs to be called: when these have arrived, all have.
"""

cimport cython

from libc.stdlib cimport calloc, free
from wagma_rma.protocol.words cimport ARRIVAL_BITS, MEMBER_BITS, mask

# Hosts below a node: with one level less, a barrier takes a round trip less; the last rank pays for each host.
cdef enum:
    ARITY = 16
    NUMBER_BITS = 25  # of a barrier's number, in `newest`
    ALL_JOINED = 1    # the code of a barrier at which nobody has come to synchronise

# What a rank has still to do for a barrier at which it has arrived.
cdef enum Due:
    NOTHING = 0
    ADD = 1      # its arrival, or what a node has gathered, to `reached`
    CLAIM = 2    # what a node has not forwarded
    FORWARD = 3  # what it has claimed, with what the ranks have said
    TELL = 4     # the hosts that all have arrived
    CALL = 5     # the other ranks

# The code of a rank in `refusing` and `gathered`: the greatest is told, so the lowest rank has the greatest.
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
        if self.nodes is NULL:
            raise MemoryError(f"Barrier: no memory for the table of {self.hosts} hosts")
        for rank in reversed(range(window.ranks)):
            host = hosts[rank]
            self.nodes[host].leader = rank
            self.nodes[host].ranks += 1
        for host in reversed(range(self.hosts)):
            self.nodes[host].parent = (host - 1) // ARITY if host else -1
            self.nodes[host].first_child = ARITY * host + 1
            self.nodes[host].children = max(0, min(ARITY, self.hosts - self.nodes[host].first_child))
            if host:
                self.nodes[(host - 1) // ARITY].ranks += self.nodes[host].ranks
        self.leads = self.nodes[self.host].leader == window.rank

    def __dealloc__(self):
        free(self.nodes)

    @property
    def leader(self):
        """The rank in whose window the words of this rank's host lie."""
        return self.nodes[self.host].leader

    @property
    def elastic(self):
        """Whether a quorum of arrivals calls the other ranks."""
        return self.quorum < <uint64_t> self.window.ranks

    def arrive(self, uint64_t step, bint synchronises=True, bint refuses=False, int joining=0, bint calls=False):
        """Arrive at the next barrier. Local: what other hosts are to know is_over() tells them.

        Args:
            step: that this rank synchronises; the one after its last, if it has joined.
            synchronises: False if this rank has joined, and goes to whatever step others synchronise.
            refuses: this rank has found an error.
            joining: 1 if this rank has joined since it arrived last, -1 if its join() is over.
            calls: a quorum of arrivals calls the others to this step; if this rank has joined, to that of the others.
        """
        self.number += 1
        self.step, self.synchronises = step, synchronises
        self.refuser = -1
        self.at, self.due = self.host, ADD
        self.newest = step << 1 | synchronises
        self.code = CONTRADICTION - 1 - self.window.rank if refuses else 0
        self.added = 1 + (<uint64_t> joining << ARRIVAL_BITS)
        # Without a quorum each arrival would be forwarded on its own, for nobody.
        self.calls = step if calls and self.elastic else 0
        with nogil:
            # What this rank has written others see before its arrival; what it has read was read before. Pairs with
            # the load of `gathered`.
            self.window.read_fence()
            self.window.write_fence()
            self.go_on(True)

    def is_over(self):
        """Return whether all ranks have arrived; then `refuser`, `step` and `all_joined` tell how. Local."""
        cdef uint64_t gathered = 0, code
        if self.passed == self.number:
            return True
        with nogil:
            self.go_on(False)
            gathered = self.look()
        if gathered == 0:
            return False
        self.passed = self.number
        code = gathered & mask(MEMBER_BITS)
        self.all_joined = code == ALL_JOINED
        if code > ALL_JOINED:
            self.refuser = MISMATCH if code == CONTRADICTION else <int> (CONTRADICTION - 1 - code)
        return True

    cdef uint64_t look(self) except? 0 nogil:
        """Return the word `gathered` if this rank's barrier is over, and have the hosts below told; else 0."""
        cdef Node* node = &self.nodes[self.host]
        cdef uint64_t gathered = self.load_word(self.host, self.layout.gathered), agreed
        if gathered >> MEMBER_BITS < self.number:
            return 0
        if self.leads and self.host and node.children:
            agreed = self.load_word(self.host, self.layout.agreed)
            self.tell(node.first_child, node.children, self.agreed_before, agreed, gathered)
            self.agreed_before = agreed
        if not self.synchronises:
            self.step = self.load_word(self.host, self.layout.agreed)
        return gathered

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
            over = self.load_word(self.host, self.layout.gathered) >> MEMBER_BITS > self.passed or self.hear(host)
        return over

    cdef bint hear(self, int host) except -1 nogil:
        """Return whether another host has been told the end of the next barrier; if so, tell this host too."""
        cdef uint64_t gathered = self.load_word(host, self.layout.gathered), agreed, before
        if gathered >> MEMBER_BITS <= self.passed:
            return False
        agreed = self.load_word(host, self.layout.agreed)
        before = self.load_word(self.host, self.layout.agreed)
        self.tell(self.host, 1, before, agreed, gathered)
        return True

    cdef int go_on(self, bint near) except -1 nogil:
        """Count this rank in at its host, and what a node has gathered at the node above it; at the end tell the hosts.

        What is left when an exception ends it, as where another host does not answer, the next call does.

        Args:
            near: do only what no other host is needed for.
        """
        cdef uint64_t found = 0
        while self.due != NOTHING:
            if near and self.hosts > 1 and (self.due == TELL or self.due == CALL or self.at != self.host):
                return 0
            if self.due == TELL:
                self.tell_end()
                self.due = NOTHING
            elif self.due == CALL:
                self.call(self.calls if self.synchronises else self.met())
                self.due = NOTHING
            elif self.due == ADD:
                if self.say_newest(self.at, self.newest):
                    self.code = CONTRADICTION
                if self.code:
                    self.window.fetch_max(self.nodes[self.at].leader, self.layout.refusing,
                                          self.number << MEMBER_BITS | self.code, &found)
                    self.window.complete()
                # An exception leaves it open whether this has happened.
                self.lost = True
                self.window.fetch_add(self.nodes[self.at].leader, self.layout.reached, self.added, &found)
                self.window.complete()
                self.lost = False
                self.due = self.after_addition(found)
            elif self.due == CLAIM:
                # A part of the node's arrivals is of use above for calls only.
                if not self.complete and self.load_word(self.host, self.layout.called) >= self.calls:
                    self.due = NOTHING
                    continue
                self.lost = True
                self.added = self.claim(self.at)
                self.lost = False
                self.due = FORWARD if self.added else NOTHING
            else:  # FORWARD
                self.newest = self.load_word(self.at, self.layout.newest) >> NUMBER_BITS
                self.code = self.refusal(self.at)
                self.at = self.nodes[self.at].parent
                self.due = ADD
        return 0

    cdef int after_addition(self, uint64_t found) noexcept nogil:
        """Return what is due after an addition to `reached` of a node, which held `found`."""
        cdef uint64_t reached = found + self.added
        self.complete = reached & mask(ARRIVAL_BITS) == self.number * <uint64_t> self.nodes[self.at].ranks
        if self.at:
            return CLAIM if self.complete or self.calls else NOTHING
        if self.complete:
            self.any_joined = reached >> ARRIVAL_BITS > 0
            return TELL
        return CALL if self.calls and self.is_enough(reached) and not self.is_enough(found) else NOTHING

    cdef bint say_newest(self, int host, uint64_t newest) except -1 nogil:
        """Raise what a node knows of the step of this barrier; return whether ranks contradict each other.

        The word changes by compare-and-swap, because a barrier after one that was refused may be for an earlier step.
        """
        cdef uint64_t known = self.load_word(host, self.layout.newest), found = 0
        cdef uint64_t desired = newest << NUMBER_BITS | (self.number & mask(NUMBER_BITS))
        cdef bint contradict = False
        while True:
            if (known ^ desired) & mask(NUMBER_BITS) == 0:
                contradict = contradict or contradiction(known >> NUMBER_BITS, newest)
                if known >= desired:
                    return contradict
            self.window.compare_and_swap(self.nodes[host].leader, self.layout.newest, known, desired, &found)
            self.window.complete()
            if found == known:
                return contradict
            known = found

    cdef uint64_t claim(self, int host) except? 0 nogil:
        """Claim the arrivals at a node that nobody has forwarded; return how many, as `reached` counts them.

        A rank that is slow may find arrivals at the next barrier. They are for ranks that are there to forward: what
        they say is of that barrier's number.
        """
        cdef uint64_t forwarded = self.load_word(host, self.layout.forwarded), reached, found = 0
        while True:
            reached = self.load_word(host, self.layout.reached)
            if (reached == forwarded
                    or reached & mask(ARRIVAL_BITS) > self.number * <uint64_t> self.nodes[host].ranks):
                return 0
            self.window.compare_and_swap(self.nodes[host].leader, self.layout.forwarded, forwarded, reached, &found)
            self.window.complete()
            if found == forwarded:
                return reached - forwarded
            forwarded = found

    cdef int tell_end(self) except -1 nogil:
        """Tell the root's host and those below it that all ranks have arrived, and how."""
        cdef uint64_t newest = self.load_word(0, self.layout.newest) >> NUMBER_BITS, agreed, before
        cdef uint64_t code = self.refusal(0)
        if self.any_joined and code == 0:
            code = 0 if newest & 1 else ALL_JOINED
        before = agreed = self.load_word(0, self.layout.agreed)
        if self.any_joined:
            agreed = newest >> 1
        return self.tell(0, 1 + self.nodes[0].children, before, agreed, self.number << MEMBER_BITS | code)

    cdef int tell(self, int first, int count, uint64_t before, uint64_t agreed, uint64_t gathered) except -1 nogil:
        """Tell some hosts that all ranks have arrived, and how.

        All hosts have the same word `agreed` before. It may go back, to an earlier step than one that was refused; so it
        changes by compare-and-swap, which does no harm when it is repeated after an exception.
        """
        cdef int host
        if agreed != before:
            for host in range(first, first + count):
                self.window.compare_and_swap(self.nodes[host].leader, self.layout.agreed, before, agreed, &self.ignored)
            self.window.complete()  # before `gathered`
        for host in range(first, first + count):
            self.window.fetch_max(self.nodes[host].leader, self.layout.gathered, gathered, &self.ignored)
        return self.window.complete()

    cdef uint64_t refusal(self, int host) except? 0 nogil:
        """Return the code of the lowest rank that a node knows to refuse this barrier, or 0."""
        cdef uint64_t refusing = self.load_word(host, self.layout.refusing)
        return refusing & mask(MEMBER_BITS) if refusing >> MEMBER_BITS == self.number else 0

    cdef uint64_t load_word(self, int host, int64_t word) except? 0 nogil:
        """Return a word of a host."""
        cdef uint64_t found = 0
        self.window.load(self.nodes[host].leader, word, 1, &found)
        self.window.complete()
        return found

    # Calls.

    cdef bint is_enough(self, uint64_t reached) noexcept nogil:
        """Return whether the arrivals at the root call the others."""
        cdef int64_t ranks = self.window.ranks, joined = reached >> ARRIVAL_BITS
        cdef int64_t arrived = <int64_t> (reached & mask(ARRIVAL_BITS)) - (<int64_t> self.number - 1) * ranks - joined
        return arrived >= <int64_t> self.quorum

    cdef uint64_t met(self) except? 0 nogil:
        """Return which step the ranks synchronise that have arrived: a rank that has joined goes to theirs."""
        return self.load_word(0, self.layout.newest) >> NUMBER_BITS >> 1

    cdef int call(self, uint64_t step) except -1 nogil:
        """Call all ranks to a step, by a word of each host."""
        cdef int host
        if step % self.sync_period:
            return 0  # all come to synchronize() at this step by themselves; average() would lead elsewhere
        for host in range(self.hosts):
            self.window.fetch_max(self.nodes[host].leader, self.layout.called, step, &self.ignored)
        return self.window.complete()

    def called(self):
        """Return the last step to which a quorum has called the others. Local."""
        cdef uint64_t called
        with nogil:
            called = self.load_word(self.host, self.layout.called)
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
