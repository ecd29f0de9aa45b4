"""The cooperative, wait-avoiding group average over one-sided memory: one group step of one rank.

Theory of operation
-------------------
At a step the ranks form groups. Each member publishes its model as a *snapshot* in its own memory and arrives at
the group's *record*, which lies at one member, its *home*. The first to run out of patience activates the group:
it *pins* the newest snapshot of every member, present or not, and writes into the record which snapshots
contribute. Then the record is open, and those present share the work: they *claim* *chunks* of the model one by
one, sum the contributions of a chunk into a result slot of their own, and mark it done. Everyone collects the
sums of all chunks from their owners. Whoever finishes the last chunk gives the pins back. Nobody acts for an
absent rank and nobody waits for it: whatever a stopped rank leaves behind, the others can do again.

A rank that finds its group's record open has missed the start; its older snapshot stood for it, and it mixes the
sum with the model it comes with (LATE). It may take the newest complete step of a group that used an old model of
its own instead. If the sums have been recycled in the meantime it keeps its own model (MISSED).

The fields of all words stand in ``words``, their places in ``layout``, publishing and pins in ``snapshots``. This
module knows a window, groups and steps, and neither numpy nor MPI nor a clock of its own. It runs without the
GIL. Source: WAGMA-SGD, Li et al., IEEE TPDS 32(7), 2021, Algorithm 2, made one-sided.
"""

from array import array

from libc.stdlib cimport calloc, free
from libc.string cimport memset
from wagma_rma.kernels.kernels cimport wagma_average, wagma_output, wagma_sum
from wagma_rma.protocol.layout cimport RESULTS, Chunk, Leaf, Section
from wagma_rma.waiting.waiter cimport Wait
from wagma_rma.protocol.words cimport (ACTIVATING, CLAIMED, DONE, GATHERING, OPEN, chunk_mark, chunk_member,
                              contribution_age, contribution_slot, pack_chunk, pack_contribution, pack_state,
                              published_slot, published_step, state_arrived, state_phase, word_step)

cdef enum:
    FRESH = 0
    LATE = 1
    MISSED = 2
    LANES = 8  # the most batches of reads in flight

# Ranks that are "in time" differ by the scheduler's whims; a group average shorter than this gains nothing
# by starting without them.
cdef double LEAST_PATIENCE = 100e-6
# A rank that holds a claim for so many times what a chunk takes is not just slow: do it again.
cdef double TAKE_OVER = 10.0
cdef double MEMORY = 0.8  # weight of the past in a running estimate


cdef double estimate(double past, double sample) noexcept nogil:
    """Return a running estimate with one more sample.

    A sample counts twice the past at most: one that is far above it has measured a preemption, or a stop, and
    must not become everyone's patience.
    """
    return MEMORY * past + (1 - MEMORY) * min(sample, 2 * past)


cdef class Protocol:
    """Group steps of one rank over a window.

    Args:
        window: the memory; its nbytes are the layout's.
        layout: where everything lies.
        groups: this rank's group at step 1, 2, ... of a full turn, ascending ranks.
        quorum: arrivals that it takes to start an average, at most the group's size counts.
        patience: seconds to wait for the others when the quorum is there; negative: a running estimate
            of what the exchange would cost this rank alone.
    """

    def __cinit__(self, Window window, Layout layout, list groups, int quorum, double patience):
        cdef int g, m, most = layout.group_size
        self.window = window
        self.layout = layout
        self.snapshots = Snapshots(window, layout)
        self.quorum = quorum
        self.patience = patience
        self.period = len(groups)
        self.groups = <Group*> calloc(self.period, sizeof(Group))
        self.group_ranks = <int*> calloc(self.period * most, sizeof(int))
        self.contributions = <uint64_t*> calloc(most, sizeof(uint64_t))
        self.found = <uint64_t*> calloc(most, sizeof(uint64_t))
        self.swapped = <uint64_t*> calloc(most, sizeof(uint64_t))
        self.chunks = <uint64_t*> calloc(layout.chunks, sizeof(uint64_t))
        self.collected = <char*> calloc(layout.chunks, 1)
        self.owner = <char*> calloc(most, 1)
        self.sources = <const void**> calloc(window.lanes * most, sizeof(void*))
        if (self.groups is NULL or self.group_ranks is NULL or self.contributions is NULL or self.found is NULL
                or self.swapped is NULL or self.chunks is NULL or self.collected is NULL or self.owner is NULL or self.sources is NULL):
            raise MemoryError("Protocol: no memory for the tables of a step")
        for g in range(self.period):
            self.groups[g].size = len(groups[g])
            self.groups[g].me = groups[g].index(window.rank)
            self.groups[g].ranks = self.group_ranks + g * most
            for m in range(self.groups[g].size):
                self.groups[g].ranks[m] = groups[g][m]
        if window.lanes > LANES:
            raise ValueError(f"Protocol: the window has {window.lanes} lanes; at most {LANES} can be used")
        window.prepare_reads(most, layout.chunk_bytes)

    def __dealloc__(self):
        free(self.groups)
        free(self.group_ranks)
        free(self.contributions)
        free(self.found)
        free(self.swapped)
        free(self.chunks)
        free(self.collected)
        free(self.owner)
        free(self.sources)

    def prepare(self, LeafPointers pointers):
        """Copy this rank's start into its first snapshot, and return it as writable bytes. Local."""
        started = self.window.waiter.now()
        first = self.snapshots.prepare(pointers)
        # Copying a model once is the first guess of what summing a member's costs.
        self.sum_seconds = max(1e-7, self.window.waiter.now() - started) / self.layout.chunks * self.layout.group_size
        self.collect_seconds = self.sum_seconds / self.layout.group_size
        return first

    def begin(self, uint64_t step):
        """Publish what lies in the first snapshot as the start. Local; a barrier must come before anyone's first step."""
        self.snapshots.begin(step)
        self.last_step = self.last_synchronized = step

    def step(self, uint64_t step, LeafPointers pointers):
        """Average the model with this rank's group at `step` (equations in wagma_rma.GroupAverager.average).

        Not collective. Waits for others until patience is over and the quorum is there, and no longer. If the
        wait is interrupted it ends at once; the step counts as MISSED and the output holds the model as it came.
        """
        self.gathered = False
        try:
            with nogil:
                self.group_step(step, pointers)
                if self.window.waiter.interrupted:
                    # The others have been served; they may rely on that nobody leaves a record that isn't open.
                    self.miss(pointers)
        except BaseException:
            # A rank that does not answer: the step can't be ended, but the model is as it came.
            if self.gathered:
                self.snapshots.restore(pointers)
            raise
        self.last_step = step
        self.count()
        self.window.waiter.raise_interruption()

    def report(self):
        """Return the last group step as a tuple, in the order of report.Report and ages before initiated."""
        cdef int m
        cdef Outcome* last = &self.outcome
        group = tuple([self.group.ranks[m] for m in range(self.group.size)])
        ages = tuple([contribution_age(self.contributions[m]) for m in range(self.group.size)])
        return (last.step, last.kind, last.source_step, group, ages, bool(last.initiated), bool(last.published),
                last.computed, last.bytes_read, last.bytes_over_network, last.seconds_waited, last.seconds)

    cdef void count(self) noexcept:
        """Add the last group step to the sums over all."""
        cdef Totals* totals = &self.totals
        totals.kinds[self.outcome.kind] += 1
        totals.initiated += self.outcome.initiated
        totals.unpublished += not self.outcome.published
        totals.computed += self.outcome.computed
        totals.bytes_read += self.outcome.bytes_read
        totals.bytes_over_network += self.outcome.bytes_over_network
        totals.seconds_waited += self.outcome.seconds_waited
        totals.seconds += self.outcome.seconds

    def statistics(self):
        """Return sums over all group steps as a tuple, in the order of report.Statistics less `synchronized`."""
        cdef Totals* totals = &self.totals
        return (totals.kinds[FRESH] + totals.kinds[LATE] + totals.kinds[MISSED],
                totals.kinds[FRESH], totals.kinds[LATE], totals.kinds[MISSED], totals.initiated,
                totals.unpublished, totals.computed, totals.bytes_read, totals.bytes_over_network,
                totals.seconds_waited, totals.seconds)

    cdef double now_patience(self) noexcept nogil:
        if self.patience >= 0:
            return self.patience
        return max(LEAST_PATIENCE, self.layout.chunks * (self.sum_seconds + self.collect_seconds))

    cdef int group_step(self, uint64_t step, LeafPointers pointers) except -1 nogil:
        cdef double started = self.window.waiter.now(), patience = self.now_patience()
        cdef bint kept
        memset(&self.outcome, 0, sizeof(Outcome))
        self.outcome.step = step
        self.aim(step)
        memset(self.contributions, 0, self.layout.group_size * sizeof(uint64_t))
        self.outcome.published = self.snapshots.publish(step, pointers, patience)
        self.gathered = True
        self.outcome.seconds_waited = self.snapshots.seconds_waited
        if self.group.size == 1:
            self.outcome.initiated = True
            self.snapshots.restore(pointers)
            self.outcome.seconds = self.window.waiter.now() - started
            return 0
        self.arrive()
        self.wait_until_open(patience)
        self.choose_source()
        self.exchange(pointers)
        self.still_kept(&kept)
        if not kept:
            self.miss(pointers)
        self.outcome.seconds = self.window.waiter.now() - started
        return 0

    cdef int aim(self, uint64_t step) except -1 nogil:
        """Use the record of `step`."""
        self.outcome.source_step = step
        self.group = &self.groups[(step - 1) % <uint64_t> self.period]
        self.home = self.group.ranks[step % <uint64_t> self.group.size]
        assert self.group.ranks[self.group.me] == self.window.rank
        return 0

    cdef int miss(self, LeafPointers pointers) except -1 nogil:
        """Give this rank its own model back; it has used no later step."""
        if self.outcome.source_step != self.outcome.step:
            self.aim(self.outcome.step)
            self.load_contributions(True)
        self.outcome.kind = MISSED
        return self.snapshots.restore(pointers)

    # Opening a record.

    cdef int swap_state(self, int phase, int arrived, bint* swapped) except -1 nogil:
        """Move the record's state on from what was last seen of it."""
        cdef uint64_t desired = pack_state(self.outcome.step, phase, arrived), found
        self.window.compare_and_swap(self.home, self.layout.state(self.outcome.step), self.state, desired, &found)
        self.window.complete()
        swapped[0] = found == self.state
        self.state = desired if swapped[0] else found
        return 0

    cdef int arrive(self) except -1 nogil:
        """Count this rank in, while the record gathers. Who completes the group activates it."""
        cdef uint64_t step = self.outcome.step
        cdef int arrived
        cdef bint swapped = False
        self.window.load(self.home, self.layout.state(step), 1, &self.state)
        self.window.complete()
        self.was_open = word_step(self.state) == step and state_phase(self.state) == OPEN
        while not swapped:
            if word_step(self.state) > step:
                with gil:
                    raise RuntimeError(
                        f"average: rank {self.window.rank} finds step {word_step(self.state)} in the record of "
                        f"step {step}; this is a defect of wagma_rma")
            if word_step(self.state) < step:
                arrived = 1
            elif state_phase(self.state) == GATHERING:
                arrived = state_arrived(self.state) + 1
            else:
                return 0
            self.swap_state(ACTIVATING if arrived == self.group.size else GATHERING, arrived, &swapped)
            self.outcome.initiated = swapped and arrived == self.group.size
        return 0

    cdef int wait_until_open(self, double patience) except -1 nogil:
        """Wait for arrivals while patience lasts and the quorum is missing, then see that the record opens."""
        cdef Wait wait = self.window.waiter.begin(0)
        cdef double activating_since = -1
        cdef bint swapped
        cdef int quorum = min(self.quorum, self.group.size)
        wait.until = wait.since + patience
        while state_phase(self.state) != OPEN:
            if state_phase(self.state) == GATHERING:
                if ((self.window.waiter.now() >= wait.until and state_arrived(self.state) >= quorum)
                        or self.window.waiter.interrupted):
                    self.swap_state(ACTIVATING, state_arrived(self.state), &swapped)
                    self.outcome.initiated = swapped
                    continue
                self.window.waiter.pause(&wait)
            elif self.outcome.initiated or 0 <= activating_since < self.window.waiter.now() - self.window.least_take_over:
                self.activate()
            else:
                if activating_since < 0:
                    activating_since = self.window.waiter.now()
                self.window.waiter.pause(&wait)
            self.window.load(self.home, self.layout.state(self.outcome.step), 1, &self.state)
            self.window.complete()
        if state_arrived(self.state) < quorum:
            # Somebody's wait for the quorum was cut short. What ended it may concern this rank too.
            self.window.waiter.run_handlers(self.window.waiter.now() - wait.since, -1)
        if wait.turns:
            self.outcome.seconds_waited += self.window.waiter.now() - wait.since
        return 0

    cdef int activate(self) except -1 nogil:
        """Write every member's contribution into the record and open it. Safe to do twice, by anyone."""
        cdef uint64_t step = self.outcome.step
        cdef int m
        cdef bint swapped
        # The record first, the pins after: a helper that came too late must lose its swap.
        self.load_contributions(False)
        for m in range(self.group.size):
            if word_step(self.contributions[m]) != step:
                self.snapshots.pin(self.group.ranks[m], &self.found[m])
        self.window.complete()
        for m in range(self.group.size):
            self.swapped[m] = self.contributions[m]
            if word_step(self.contributions[m]) == step:
                continue
            if published_step(self.found[m]) > step:
                # The member has left this step, so somebody else has written its contribution.
                self.swapped[m] = ~self.contributions[m]
                continue
            self.window.compare_and_swap(
                self.home, self.layout.contribution(step, m), self.contributions[m],
                pack_contribution(step, step - published_step(self.found[m]), published_slot(self.found[m])),
                &self.swapped[m])
        self.window.complete()
        for m in range(self.group.size):
            if self.swapped[m] != self.contributions[m]:
                self.snapshots.unpin(self.group.ranks[m], published_slot(self.found[m]))
        self.swap_state(OPEN, state_arrived(self.state), &swapped)
        return 0

    cdef int load_contributions(self, bint opened) except -1 nogil:
        """Load who contributes what; once the record is open all is there, and stays."""
        cdef int m
        self.window.load(self.home, self.layout.contribution(self.outcome.source_step, 0), self.group.size,
                         self.contributions)
        self.window.complete()
        for m in range(self.group.size):
            assert not opened or word_step(self.contributions[m]) == self.outcome.source_step
        return 0

    cdef int choose_source(self) except -1 nogil:
        """Decide between FRESH and LATE, and which step's sums to use."""
        cdef uint64_t step = self.outcome.step, latest
        self.load_contributions(True)
        self.mixes = False
        if contribution_age(self.contributions[self.group.me]) == 0:
            self.outcome.kind = FRESH
            return 0
        self.outcome.kind = LATE
        if self.was_open:
            # Whoever opened the record before this rank came does its work; all others must do their part
            # here, or a record could be left that nobody finishes.
            self.window.load(self.window.rank, self.layout.latest, 1, &latest)
            self.window.complete()
            if latest > step:
                self.aim(latest)
                self.load_contributions(True)
        # A later step may have used the very model that this rank comes with.
        self.mixes = (self.outcome.source_step - contribution_age(self.contributions[self.group.me])) != step
        return 0

    # The exchange: sharing the work of an open record, and collecting the sums.

    cdef int exchange(self, LeafPointers pointers) except -1 nogil:
        """Claim and sum chunks, from this rank's own share on, and collect the sums of the others.

        Each turn of the loop begins what can be in flight at a time, completes the words, and then one chunk. The
        words that travel together, in one round trip: the claims of the next chunks, DONE of the one just summed, the
        count of the one found DONE in the turn before, and, while lanes are free, looks for what others have done.
        Does again what a stopped rank has claimed.
        """
        cdef uint64_t step = self.outcome.source_step
        cdef int chunks = self.layout.chunks, lanes = self.window.lanes
        cdef int left = chunks, first = 0, in_flight = 0, summing = 0, summed = -1, done = 0, looked = 0
        # Only this rank's own step has chunks left to claim.
        cdef int cursor = 0 if step == self.outcome.step else chunks
        cdef int claims, counting, lane, c, i
        cdef int[LANES] reading, wanted
        cdef uint64_t[LANES] expected, found
        cdef uint64_t seen = 0
        cdef double take_over = max(self.window.least_take_over, TAKE_OVER * self.sum_seconds), now
        cdef Wait wait = self.window.waiter.begin(0)  # since a chunk was last done with
        cdef double started = wait.since
        memset(self.collected, 0, chunks)
        memset(self.owner, 0, self.group.size)
        self.tagged = False
        self.window.load(self.home, self.layout.chunk_word(step, 0), chunks, self.chunks)
        self.window.complete()
        while left or done:
            claims = 0
            while in_flight + claims < lanes:
                c = self.next_to_claim(&cursor, summing + claims)
                if c < 0:
                    break
                wanted[claims], expected[claims] = c, self.chunks[c]
                self.chunks[c] = pack_chunk(step, CLAIMED, self.group.me)
                self.window.compare_and_swap(self.home, self.layout.chunk_word(step, c), expected[claims],
                                             self.chunks[c], &found[claims])
                claims += 1
            while in_flight + claims < lanes:
                c = self.next_to_collect()
                if c < 0:
                    break
                self.collected[c] = True
                lane = (first + in_flight) % lanes
                reading[lane] = c
                self.start_collecting(lane, c, chunk_member(self.chunks[c]))
                in_flight += 1
            if summed >= 0:
                self.begin_done(summed, seen)
            counting = done
            if counting:
                self.begin_count()
            if in_flight + claims < lanes:
                # All, unless there is something else to do meanwhile.
                self.look_at_chunks(&looked, chunks if in_flight + claims == 0 else 2 * lanes)
            self.window.complete()
            for i in range(claims):
                c = wanted[i]
                if found[i] != expected[i]:
                    self.chunks[c] = found[i]
                    continue
                lane = (first + in_flight) % lanes
                reading[lane] = c
                self.start_sum(lane, c, pointers)
                in_flight += 1
                summing += 1
            if counting:
                self.end_count()
            done = 0
            if summed >= 0:
                self.end_done(summed, seen)
                done = self.collected[summed]
                left -= done
                summed = -1
            if in_flight:
                c, lane = reading[first], first
                first = (first + 1) % lanes
                in_flight -= 1
                if self.collected[c]:
                    self.end_collecting(lane, c, pointers)
                    left -= 1
                    wait = self.window.waiter.begin(0)
                    self.collect_seconds = estimate(self.collect_seconds, wait.since - started)
                else:
                    self.sum_chunk(lane, c, pointers)
                    summing -= 1
                    summed, seen = c, self.chunks[c]
                    wait = self.window.waiter.begin(0)
                    self.sum_seconds = estimate(self.sum_seconds, wait.since - started)
                started = wait.since
            elif left and not claims and not done and self.next_to_collect() < 0:
                now = self.window.waiter.now()
                if now - wait.since < take_over:
                    self.window.waiter.pause(&wait)
                    started = self.window.waiter.now()
                    self.outcome.seconds_waited += started - now
                    continue
                c = 0
                while self.collected[c]:
                    c += 1
                assert step == self.outcome.step and chunk_mark(self.chunks[c]) == CLAIMED
                self.start_sum(0, c, pointers)
                self.sum_chunk(0, c, pointers)
                summed, seen = c, self.chunks[c]
        return 0

    cdef int own_share(self, int member) noexcept nogil:
        """Return the first chunk of a member's share."""
        return <int> (<int64_t> member * self.layout.chunks // self.group.size)

    cdef int next_to_claim(self, int* cursor, int summing) noexcept nogil:
        """Return the next chunk that nobody is known to have; -1 if there is none, or this rank sums enough."""
        cdef int c, chunks = self.layout.chunks, share = self.own_share(self.group.me)
        while cursor[0] < chunks:
            # Others' shares one by one, or their last chunks would wait for whoever claims most.
            if summing and cursor[0] >= self.own_share(self.group.me + 1) - share:
                break
            c = (share + cursor[0]) % chunks
            cursor[0] += 1
            if word_step(self.chunks[c]) != self.outcome.step:
                return c
        return -1

    cdef bint is_done(self, int c) noexcept nogil:
        """Say whether a chunk is known to be done."""
        return word_step(self.chunks[c]) == self.outcome.source_step and chunk_mark(self.chunks[c]) == DONE

    cdef int next_to_collect(self) noexcept nogil:
        """Return a chunk that is done and not collected yet, or -1; of the next members first, so each serves one."""
        cdef int c, i, begin = self.own_share(self.group.me)
        for i in range(self.layout.chunks):
            c = (begin + i) % self.layout.chunks
            if not self.collected[c] and self.is_done(c):
                return c
        return -1

    cdef int look_at_chunks(self, int* looked, int most) except -1 nogil:
        """Begin to load the words of chunks that others are still to do, `most` of them, from *looked on in turn."""
        cdef int c, i
        cdef uint64_t mine = pack_chunk(self.outcome.source_step, CLAIMED, self.group.me)
        for i in range(self.layout.chunks):
            if most == 0:
                break
            c = looked[0]
            looked[0] = (c + 1) % self.layout.chunks
            if not self.collected[c] and self.chunks[c] != mine and not self.is_done(c):
                self.window.load(self.home, self.layout.chunk_word(self.outcome.source_step, c), 1, &self.chunks[c])
                most -= 1
        return 0

    cdef int start_sum(self, int lane, int c, LeafPointers pointers) except -1 nogil:
        """Start reading a chunk of every contribution."""
        cdef Chunk chunk = self.layout.chunk(c)
        cdef Section* section = &self.layout.sections[chunk.kind]
        cdef Leaf* leaf = &self.layout.leaves[self.layout.first_leaf[c]]
        cdef int64_t nbytes = chunk.count * section.width
        cdef int m, slot
        for m in range(self.group.size):
            slot = contribution_slot(self.contributions[m])
            self.read(lane, m, m, self.layout.snapshot(slot) + section.snapshot + chunk.begin * section.width, nbytes)
            if (m == self.group.me and self.outcome.kind == FRESH and not pointers.entangled and leaf.kind == chunk.kind
                    and leaf.begin + leaf.count >= chunk.begin + chunk.count):
                # What was published is still there, in better reach: no element of the output is written before its sum.
                self.sources[lane * self.layout.group_size + m] = (
                    pointers.sources[self.layout.first_leaf[c]] + (chunk.begin - leaf.begin) * section.width)
        return 0

    cdef int sum_chunk(self, int lane, int c, LeafPointers pointers) except -1 nogil:
        """Sum the chunk that a lane reads into this rank's result, and write the average into the caller's output.

        The output is written too if the sums turn out to be another's: they are collected then, over it.
        """
        cdef uint64_t step = self.outcome.step, found
        cdef Chunk chunk = self.layout.chunk(c)
        cdef Section* section = &self.layout.sections[chunk.kind]
        cdef int64_t place = self.layout.result(step) + section.result + chunk.begin * section.sum_width
        if not self.tagged:
            # Pairs with still_kept(): whoever reads bytes of this step reads a tag that says so. Tag before data.
            self.window.fetch_max(self.window.rank, self.layout.result_tag + 8 * (step % RESULTS), step, &found)
            self.window.complete()
            self.window.write_fence()
            self.tagged = True
        self.window.complete_reads(lane)
        self.scatter(c, self.window.own(place), &self.sources[lane * self.layout.group_size], pointers)
        self.window.wrote(place, chunk.count * section.sum_width)
        # The sums are visible before DONE is: pairs with its load in exchange(). So are the reads of their sources
        # over: pairs, through `finished` and unpin(), with Snapshots.free_slot().
        self.window.read_fence()
        self.window.write_fence()
        return 0

    cdef int begin_done(self, int c, uint64_t seen) except -1 nogil:
        """Begin to mark a chunk that is summed done, if it is still as `seen`."""
        self.window.compare_and_swap(self.home, self.layout.chunk_word(self.outcome.step, c), seen,
                                     pack_chunk(self.outcome.step, DONE, self.group.me), &self.done_found)
        return 0

    cdef int end_done(self, int c, uint64_t seen) except -1 nogil:
        """Count a chunk as this rank's if it has marked it done."""
        if self.done_found != seen:
            # Somebody else did it. What was summed here may be nonsense, since the pins may be gone.
            self.chunks[c] = self.done_found
            return 0
        self.chunks[c] = pack_chunk(self.outcome.step, DONE, self.group.me)
        self.outcome.computed += 1
        self.collected[c] = True
        return 0

    cdef int begin_count(self) except -1 nogil:
        """Begin to count a chunk that this rank has marked done as finished."""
        return self.window.fetch_add(self.home, self.layout.finished(self.outcome.step), 1, &self.finished_found)

    cdef int end_count(self) except -1 nogil:
        """Give the pins back if that was the last chunk."""
        if (self.finished_found + 1) % <uint64_t> self.layout.chunks == 0:
            self.unpin_all()
        return 0

    cdef int read(self, int lane, int source, int member, int64_t offset, int64_t nbytes) except -1 nogil:
        """Start reading from a member into a place of a lane, and count the bytes if it is another's memory."""
        cdef int rank = self.group.ranks[member]
        if rank != self.window.rank:
            self.outcome.bytes_read += nbytes
            if not self.window.is_near(rank):
                self.outcome.bytes_over_network += nbytes
        return self.window.read(lane, source, rank, offset, nbytes,
                                &self.sources[lane * self.layout.group_size + source])

    cdef int unpin_all(self) except -1 nogil:
        """Give back the pins of a record that is complete, and tell those who were absent."""
        cdef int m
        for m in range(self.group.size):
            self.snapshots.unpin(self.group.ranks[m], contribution_slot(self.contributions[m]))
        for m in range(self.group.size):
            if contribution_age(self.contributions[m]) != 0:
                self.window.fetch_max(self.group.ranks[m], self.layout.latest, self.outcome.step, &self.found[m])
        return self.window.complete()

    cdef int start_collecting(self, int lane, int c, int member) except -1 nogil:
        """Start reading the sums of a chunk from the member that owns them."""
        cdef Chunk chunk = self.layout.chunk(c)
        cdef Section* section = &self.layout.sections[chunk.kind]
        cdef int64_t nbytes = chunk.count * section.sum_width
        # Never this rank's own: what it has summed itself it has scattered already.
        return self.read(
            lane, 0, member,
            self.layout.result(self.outcome.source_step) + section.result + chunk.begin * section.sum_width, nbytes)

    cdef int end_collecting(self, int lane, int c, LeafPointers pointers) except -1 nogil:
        """Use the sums of a chunk that another member owns."""
        self.window.complete_reads(lane)
        self.scatter(c, <char*> self.sources[lane * self.layout.group_size], NULL, pointers)
        self.owner[chunk_member(self.chunks[c])] = True
        return 0

    cdef void scatter(self, int c, char* sums, const void** sources, LeafPointers pointers) noexcept nogil:
        """Write a chunk of the average into the caller's output, leaf by leaf.

        Args:
            sums: of the chunk.
            sources: the chunk in each contribution, to be summed first (the pointers are moved); NULL: it is done.
        """
        cdef Chunk chunk = self.layout.chunk(c)
        cdef Section* section = &self.layout.sections[chunk.kind]
        cdef int i = self.layout.first_leaf[c], m
        cdef Leaf* leaf
        cdef int64_t begin, count
        cdef wagma_output output
        output.divisor = self.group.size + self.mixes
        while i < self.layout.leaf_count:
            leaf = &self.layout.leaves[i]
            if leaf.kind != chunk.kind or leaf.begin >= chunk.begin + chunk.count:
                return
            begin = max(chunk.begin, leaf.begin)
            count = min(chunk.begin + chunk.count, leaf.begin + leaf.count) - begin
            output.stream = self.snapshots.streams(pointers, i)
            output.out = pointers.targets[i] + (begin - leaf.begin) * section.width
            output.own = self.snapshots.own + section.snapshot + begin * section.width if self.mixes else NULL
            if sources is NULL:
                wagma_average(chunk.kind, sums, count, &output)
            else:
                wagma_sum(chunk.kind, sums, sources, self.group.size, count, self.layout.streams_window, &output)
                for m in range(self.group.size):
                    sources[m] = <const char*> sources[m] + count * section.width
            sums += count * section.sum_width
            i += 1

    cdef int still_kept(self, bint* kept) except -1 nogil:
        """Say whether all that was collected was still the source step's when it was read."""
        cdef uint64_t step = self.outcome.source_step
        cdef int m
        # Pairs with the tag in sum_chunk(): the bytes first, complete, then the tag.
        self.window.read_fence()
        for m in range(self.group.size):
            self.found[m] = step
            if self.owner[m]:
                self.window.load(self.group.ranks[m], self.layout.result_tag + 8 * (step % RESULTS), 1,
                                 &self.found[m])
        self.window.complete()
        kept[0] = True
        for m in range(self.group.size):
            kept[0] = kept[0] and self.found[m] == step
        return 0

    # A synchronising step, as far as words are concerned.

    def synchronized(self, uint64_t step):
        """Count a synchronising step as done."""
        self.last_step = self.last_synchronized = step

    def announce(self, uint64_t word):
        """Raise this rank's `entered` word. Local."""
        cdef uint64_t found
        with nogil:
            self.window.fetch_max(self.window.rank, self.layout.entered, word, &found)
            self.window.complete()

    def entered(self, ranks):
        """Return the `entered` word of each of some ranks, in one round trip."""
        return self.loaded(ranks, self.layout.entered)

    def published(self, ranks):
        """Return the steps of some ranks' newest snapshots, in one round trip: they have reached at least those."""
        return [published_step(word) for word in self.loaded(ranks, self.layout.published)]

    cdef list loaded(self, ranks, int64_t word):
        """Return a word of each of some ranks, loaded in one round trip."""
        found = array("Q", [0]) * len(ranks)
        cdef uint64_t[::1] words = found
        cdef int i, rank
        for i, rank in enumerate(ranks):
            self.window.load(rank, word, 1, &words[i])
        with nogil:
            self.window.complete()
        return found.tolist()

    def unfinished(self):
        """Return which records of this rank lack chunks; none does when nobody is in a group step."""
        cdef uint64_t done, step
        found = []
        for record in range(self.layout.records):
            step = record
            with nogil:
                self.window.load(self.window.rank, self.layout.finished(step), 1, &done)
                self.window.complete()
            if done % <uint64_t> self.layout.chunks:
                found.append(record)
        return found
