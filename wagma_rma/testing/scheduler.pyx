"""Runs the ranks of a simulation one at a time, in the order that a schedule gives.

Each rank is a thread. Exactly one of them holds the *baton* and runs. Before it touches anything that others can see
it calls turn(), where the schedule decides which rank runs next. So a list of choices determines a run completely,
and any interleaving of what the ranks do between two turns is possible.
"""

import threading

from libc.stdlib cimport calloc, free, realloc

from wagma_rma.testing.schedule import FOREVER, Schedule

NAMES = ("load", "fetch_add", "fetch_max", "compare_and_swap")  # of the verbs
POLICIES = {"dull": DULL, "random": RANDOM, "round-robin": ROUND_ROBIN, "priorities": PRIORITIES}

cdef int64_t NEVER = FOREVER  # a turn that no run reaches
cdef double TURN = 1e-6       # seconds that a turn adds to the clock of its rank


class SimulationOver(BaseException):
    """The simulation has ended before this rank was done."""


class NoEnd(AssertionError):
    """A simulation took too many turns: its ranks wait for something that never happens."""


cdef class Scheduler:
    """Runs a function on several ranks, each a thread, one at a time, in the order that a schedule gives.

    Args:
        ranks: how many, at most 64.
        schedule: which rank runs at each turn; None: the dull one.
        most_turns: a run that takes more raises NoEnd.

    Until run() is called one thread may act for any rank.
    """

    def __cinit__(self, int ranks, schedule=None, int64_t most_turns=100_000):
        cdef int rank, i, j
        schedule = Schedule() if schedule is None else schedule
        self.ranks = ranks
        self.schedule = schedule
        self.most_turns = most_turns
        self.errors = {}
        self.stops = bool(schedule.stops)
        self.interruptions = list(schedule.interruptions)
        self.interrupts = bool(self.interruptions)
        self.silences = bool(schedule.silences)
        self.span = schedule.span
        self.batons = <sem_t*> calloc(ranks, sizeof(sem_t))
        self.finished = <bint*> calloc(ranks, sizeof(bint))
        self.stopped_until = <int64_t*> calloc(ranks, sizeof(int64_t))
        self.clocks = <double*> calloc(ranks, sizeof(double))
        self.priorities = <int64_t*> calloc(ranks, sizeof(int64_t))
        self.operations = <int64_t*> calloc(ranks * VERBS, sizeof(int64_t))
        self.change_count = schedule.changes
        self.changes = <int64_t*> calloc(max(1, self.change_count), sizeof(int64_t))
        if (self.batons is NULL or self.finished is NULL or self.stopped_until is NULL or self.clocks is NULL
                or self.priorities is NULL or self.operations is NULL or self.changes is NULL):
            raise MemoryError("Scheduler: no memory for the tables of ranks")
        for rank in range(ranks):
            sem_init(&self.batons[rank], 0, 0)
        self.drawn = <const uint8_t*> <const char*> schedule.choices
        self.drawn_count = len(schedule.choices)
        self.policy = POLICIES[schedule.policy]
        self.random = schedule.seed
        self.seldom = <int64_t> 1 << (1 + 2 * (self.draw() % 3))
        for rank in range(ranks):
            # A random order: each is inserted before a random one of those that are there.
            j = self.draw() % (rank + 1)
            for i in range(rank):
                self.priorities[i] += self.priorities[i] >= j
            self.priorities[rank] = j
        for i in range(self.change_count):
            self.changes[i] = self.draw() % max(1, schedule.span)

    def __dealloc__(self):
        for rank in range(self.ranks):
            sem_destroy(&self.batons[rank])
        free(self.batons)
        free(self.finished)
        free(self.stopped_until)
        free(self.clocks)
        free(self.priorities)
        free(self.operations)
        free(self.changes)
        free(self.taken)

    @property
    def choices(self):
        """All choices made so far. With the same stops and interruptions they repeat the run exactly."""
        return bytes(self.taken[:self.taken_count])

    def compute(self, int rank, double seconds):
        """Add to the clock of the rank that runs what it computes between two steps; no turn passes."""
        self.clocks[rank] += seconds

    def run(self, function):
        """Run `function(rank)` on all ranks. Return what each returned, or None where a rank was stopped for good.

        Raises:
            NoEnd: the run took more turns than allowed.
            BaseException: what a rank raised; of several ranks the lowest.
        """
        cdef int first
        results = [None] * self.ranks
        threads = [
            threading.Thread(target=self._run_rank, args=(rank, function, results), daemon=True)
            for rank in range(self.ranks)
        ]
        for thread in threads:
            thread.start()
        self.running = True
        with nogil:
            first = self.next_rank(-1, False)
        if first >= 0:
            sem_post(&self.batons[first])
        for thread in threads:
            thread.join()
        for rank in sorted(self.errors):
            raise self.errors[rank]
        if self.turns >= self.most_turns:
            raise NoEnd(self.over)
        return results

    def _run_rank(self, int rank, function, results):
        cdef int following
        try:
            with nogil:
                self.wait_for_baton(rank)
            results[rank] = function(rank)
        except SimulationOver:
            return
        except BaseException as error:
            self.errors[rank] = error
            self.end(f"rank {rank} raised {error!r}")
            return
        self.finished[rank] = True
        with nogil:
            following = -1 if self.ending else self.next_rank(rank, True)
        if following >= 0:
            sem_post(&self.batons[following])

    cdef int end(self, str reason) except -1:
        """End the simulation: every thread that waits for the baton raises SimulationOver."""
        cdef int rank
        if not self.ending:
            self.over = reason
            self.ending = True
            for rank in range(self.ranks):
                sem_post(&self.batons[rank])
        return 0

    cdef int wait_for_baton(self, int rank) except -1 nogil:
        """Wait until another rank passes the baton on to this one."""
        while sem_wait(&self.batons[rank]):
            pass
        if self.ending:
            with gil:
                raise SimulationOver(self.over)
        return 0

    cdef uint64_t draw(self) noexcept nogil:
        """Return 64 random bits (Steele et al., SplitMix, OOPSLA 2014)."""
        cdef uint64_t z
        self.random += <uint64_t> 0x9e3779b97f4a7c15
        z = self.random
        z = (z ^ (z >> 30)) * <uint64_t> 0xbf58476d1ce4e5b9
        z = (z ^ (z >> 27)) * <uint64_t> 0x94d049bb133111eb
        return z ^ (z >> 31)

    cdef int record_choice(self, int choice, int options) except -1 nogil:
        """Record a choice, and return it; a choice that the schedule has already drawn replaces it."""
        if self.taken_count < self.drawn_count:
            choice = self.drawn[self.taken_count] % options
        if self.taken_count == self.taken_room:
            self.taken_room = max(1024, 2 * self.taken_room)
            self.taken = <uint8_t*> realloc(self.taken, self.taken_room)
            if self.taken is NULL:
                with gil:
                    raise MemoryError("Scheduler: no memory for the choices")
        self.taken[self.taken_count] = choice
        self.taken_count += 1
        return choice

    cdef int choose(self, int options) except -1 nogil:
        """Choose among some options for the rank that runs."""
        cdef int choice = 0
        if options <= 1:
            return 0
        options = min(options, 255)
        if self.policy != DULL and self.draw() % 4 == 0:
            choice = self.draw() % <uint64_t> options
        return self.record_choice(choice, options)

    cdef bint flip(self) except -1 nogil:
        """Choose whether the memory does now what only a weak memory does."""
        return self.record_choice(0 if self.policy == DULL else self.draw() % 2, 2)

    cdef int turn(self, int rank, bint pausing) except -1 nogil:
        """Let the schedule decide which rank runs next; return when this rank holds the baton again.

        Args:
            pausing: this rank waits for another, so another one should run.
        """
        cdef int following
        self.clocks[rank] += TURN
        if not self.running:
            return 0  # before run() there are no turns
        following = self.next_rank(rank, pausing)
        if following != rank:
            if following >= 0:
                sem_post(&self.batons[following])
            self.wait_for_baton(rank)
        elif self.ending:
            with gil:
                raise SimulationOver(self.over)
        return 0

    cdef int count_operation(self, int rank, int verb) except -1 nogil:
        """Count an operation of a rank. A stop may be due after it: the rank stops at its next turn."""
        cdef int64_t* count = &self.operations[rank * VERBS + verb]
        count[0] += 1
        if self.stops:
            with gil:
                for stop in self.schedule.stops:
                    if stop.rank == rank and stop.at == count[0] and stop.verb == NAMES[verb]:
                        self.stop(stop)
        return 0

    cdef int stop(self, stop) except -1:
        """Stop a rank."""
        self.stopped_until[stop.rank] = min(NEVER, self.turns + stop.turns)
        self.clocks[stop.rank] += stop.seconds
        return 0

    cdef int next_rank(self, int rank, bint pausing) except -2 nogil:
        """Choose which rank runs after `rank`, or return -1 if none can."""
        cdef int[64] candidates
        cdef int count = 0, i, r, soonest = -1, first
        self.turns += 1
        if self.turns >= self.most_turns:
            with gil:
                self.end(f"no end after {self.turns} turns")
            return rank
        if self.stops:
            with gil:
                for stop in self.schedule.stops:
                    if stop.at == self.turns and not stop.verb:
                        self.stop(stop)
        # The rank itself is the first candidate, or if it waits the last; the others follow in ascending order.
        first = rank + 1 if pausing else max(0, rank)
        for i in range(self.ranks):
            r = (first + i) % self.ranks
            if self.finished[r]:
                continue
            if self.stopped_until[r] <= self.turns:
                candidates[count] = r
                count += 1
            elif self.stopped_until[r] < NEVER and (
                    soonest < 0 or self.stopped_until[r] < self.stopped_until[soonest]):
                soonest = r
        if count == 0:
            if soonest < 0:
                with gil:
                    self.end("the ranks that are left have been stopped for good")
                return -1
            self.stopped_until[soonest] = 0
            return soonest
        if count == 1:
            return candidates[0]
        return candidates[self.record_choice(self.preferred(rank, candidates, count, pausing), count)]

    cdef int preferred(self, int rank, int* candidates, int count, bint pausing) noexcept nogil:
        """Return which candidate the policy prefers."""
        cdef int i, best = 0
        if self.policy == RANDOM:
            if pausing or self.draw() % <uint64_t> self.seldom == 0:
                return self.draw() % <uint64_t> count
        elif self.policy == ROUND_ROBIN:
            self.since += 1
            if self.since >= self.span:
                self.since = 0
                return 0 if candidates[0] != rank else 1
        elif self.policy == PRIORITIES:
            for i in range(self.change_count):
                pausing = pausing or self.changes[i] == self.turns
            if pausing and rank >= 0:
                self.lowest -= 1
                self.priorities[rank] = self.lowest
            for i in range(1, count):
                if self.priorities[candidates[i]] > self.priorities[candidates[best]]:
                    best = i
            return best
        return 0

    cdef object interruption(self, int rank):
        """Return what interrupts a wait of this rank now, or None. Each interruption happens once."""
        for due in self.interruptions:
            if due.rank == rank and due.turn <= self.turns:
                self.interruptions.remove(due)
                return due.kind(f"{due}")
        return None

    cdef object silence(self, int rank, int64_t trip):
        """Return what ends a round trip of this rank, or None."""
        for due in self.schedule.silences:
            if due.rank == rank and due.trip == trip:
                return due.kind(f"{due}")
        return None
