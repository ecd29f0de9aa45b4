"""The exchange of an open record: its members share the work of summing, and collect the sums.

A chunk's word changes from an older step (free) to CLAIMED and then DONE, each by compare-and-swap, and names the
member that did it. Two kinds of work go on side by side:

    sharing      claim a free chunk | sum it into this rank's result | mark it DONE | add 1 to `finished`
    collecting   find a chunk DONE | read its owner's sums | write the average into the output

Each round of the exchange (`perform`) has one round trip for words, in which all of these travel together; bulk reads
stay in flight meanwhile, as many chunks as the window has lanes. A chunk that stays CLAIMED for long is summed again by
a member that waits for it: a stopped member stops nobody.
"""

cimport cython

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from wagma_rma.protocol.words cimport CLAIMED, DONE, chunk_mark, chunk_member, pack_chunk, word_step

# A claim that lasts so many times as long as a sum takes belongs to a member that has stopped, not to a slow one.
cdef double TAKE_OVER = 10.0
cdef double MEMORY = 0.8  # weight of the past in a running estimate


cdef double estimate(double past, double sample) noexcept nogil:
    """Return a running estimate with one more sample.

    A sample counts twice the past at most: one that is far above it has measured a preemption, or a stop, and must not
    become the patience of all.
    """
    return MEMORY * past + (1 - MEMORY) * min(sample, 2 * past)


cpdef double shared_by(int members, double chunks, double sum_seconds, double collect_seconds) noexcept nogil:
    """Return the seconds of an exchange that so many share: each sums its part of the chunks, and collects the rest."""
    return chunks * (sum_seconds + (members - 1) * collect_seconds) / members


@cython.final
cdef class Exchange:
    """The exchange of one record at a time, as one rank performs it."""

    def __cinit__(self, Window window, Layout layout, Record record):
        self.window = window
        self.waiter = window.waiter
        self.layout = layout
        self.record = record
        self.sums = Sums(window, layout, record.snapshots, record)
        self.words = <uint64_t*> calloc(layout.chunks, sizeof(uint64_t))
        self.in_output = <char*> calloc(layout.chunks, 1)
        if self.words is NULL or self.in_output is NULL:
            raise MemoryError(f"Exchange: no memory for the table of {layout.chunks} chunks")
        if window.lanes > MOST_LANES:
            raise ValueError(f"Exchange: the window has {window.lanes} lanes; at most {MOST_LANES} can be used")

    def __dealloc__(self):
        free(self.words)
        free(self.in_output)

    cdef double usual(self) noexcept nogil:
        """Return what an exchange usually takes if all members of a group share it, seconds."""
        return shared_by(self.layout.group_size, self.layout.chunks, self.sum_seconds, self.collect_seconds)

    cdef int perform(self, bint shares, LeafPointers pointers) except -1 nogil:
        """Fill the output with the averages of all chunks of the record.

        Args:
            shares: whether this rank sums chunks too; all of them are DONE if it does not.
        """
        self.begin(shares)
        while self.left or self.uncounted:
            # 1. Begin all that can travel now: claims come first, since others may claim the same chunks.
            self.begin_claims()
            self.begin_collecting()
            self.begin_mark()
            self.begin_count()
            self.begin_looks()
            # 2. Complete the words, in one round trip. Bulk reads go on.
            self.window.complete()
            # 3. Find out what the words held. A chunk that is found DONE by this rank is counted in the next round.
            self.end_claims(pointers)
            self.end_count()
            self.end_mark()
            # 4. Sum or collect the chunk whose reads have been in flight for longest; or wait for other members.
            if self.busy_lanes:
                self.complete_lane(pointers)
            elif self.left and not self.claims and not self.uncounted and self.next_to_collect() < 0:
                self.wait_or_take_over(pointers)
        return 0

    cdef int begin(self, bint shares) except -1 nogil:
        """Forget the exchange before, and load the words of all chunks."""
        self.chunks_computed = 0
        self.seconds_waited = 0
        self.left = self.layout.chunks
        self.next_claim = 0 if shares else self.layout.chunks
        self.next_look = self.first_lane = self.busy_lanes = self.summing = 0
        self.summed = -1
        self.uncounted = self.counting = False
        self.idle = self.waiter.begin(0)
        self.chunk_began = self.idle.since
        memset(self.in_output, 0, self.layout.chunks)
        self.window.load(self.record.home, self.layout.chunk_word(self.record.number, 0), self.layout.chunks,
                         self.words)
        return self.window.complete()

    # Sharing.

    cdef int begin_claims(self) except -1 nogil:
        """Begin to claim a chunk for each lane that is free."""
        cdef int c
        cdef uint64_t step = self.record.step, number = self.record.number
        self.claims = 0
        while self.busy_lanes + self.claims < self.window.lanes:
            c = self.next_to_claim()
            if c < 0:
                break
            self.claimed[self.claims] = c
            self.claim_expected[self.claims] = self.words[c]
            self.words[c] = pack_chunk(step, CLAIMED, self.record.group.me)
            self.window.compare_and_swap(self.record.home, self.layout.chunk_word(number, c),
                                         self.claim_expected[self.claims], self.words[c],
                                         &self.claim_found[self.claims])
            self.claims += 1
        return 0

    cdef int end_claims(self, LeafPointers pointers) except -1 nogil:
        """Begin to read the sources of the chunks whose claims have succeeded."""
        cdef int i, c
        for i in range(self.claims):
            c = self.claimed[i]
            if self.claim_found[i] != self.claim_expected[i]:
                self.words[c] = self.claim_found[i]
                continue
            self.sums.begin_sum(self.occupy_lane(c), c, pointers)
            self.summing += 1
        return 0

    cdef int begin_mark(self) except -1 nogil:
        """Begin to mark as DONE the chunk that was summed last, if its word is still as it was before the sum."""
        if self.summed < 0:
            return 0
        return self.window.compare_and_swap(
            self.record.home, self.layout.chunk_word(self.record.number, self.summed), self.done_expected,
            pack_chunk(self.record.step, DONE, self.record.group.me), &self.done_found)

    cdef int end_mark(self) except -1 nogil:
        """Own the chunk if the swap to DONE has succeeded."""
        if self.summed < 0:
            return 0
        if self.done_found == self.done_expected:
            self.words[self.summed] = pack_chunk(self.record.step, DONE, self.record.group.me)
            self.chunks_computed += 1
            self.in_output[self.summed] = True
            self.left -= 1
            self.uncounted = True
        else:
            # Another member has marked it. The sums made here may be garbage, since the pins may be gone.
            self.words[self.summed] = self.done_found
        self.summed = -1
        return 0

    cdef int begin_count(self) except -1 nogil:
        """Begin to count the chunk of this rank that was found DONE in the round before."""
        self.counting = self.uncounted
        if self.counting:
            self.window.fetch_add(self.record.home, self.layout.finished(self.record.number), 1, &self.finished_found)
        return 0

    cdef int end_count(self) except -1 nogil:
        """Give the pins back if the chunk was the last of the record."""
        if not self.counting:
            return 0
        self.uncounted = False
        if (self.finished_found + 1) % <uint64_t> self.layout.chunks == 0:
            self.record.unpin_all()
        return 0

    cdef int own_part(self, int member) noexcept nogil:
        """Return the first chunk of a member's part of the chunks."""
        return <int> (<int64_t> member * self.layout.chunks // self.record.group.size)

    cdef int next_to_claim(self) noexcept nogil:
        """Return the next chunk that is not known to be taken; -1 if there is none, or this rank sums enough."""
        cdef int c, me = self.record.group.me, begin = self.own_part(me)
        while self.next_claim < self.layout.chunks:
            # Of other members' parts one chunk at a time: else their last chunks would wait for the member that
            # claims most.
            if self.summing + self.claims and self.next_claim >= self.own_part(me + 1) - begin:
                break
            c = (begin + self.next_claim) % self.layout.chunks
            self.next_claim += 1
            if word_step(self.words[c]) != self.record.step:
                return c
        return -1

    # Collecting.

    cdef int begin_collecting(self) except -1 nogil:
        """Begin to read the sums of a chunk that is DONE for each lane that is still free."""
        cdef int c
        while self.busy_lanes + self.claims < self.window.lanes:
            c = self.next_to_collect()
            if c < 0:
                break
            self.in_output[c] = True
            self.sums.begin_collecting(self.occupy_lane(c), c, chunk_member(self.words[c]))
        return 0

    cdef int next_to_collect(self) noexcept nogil:
        """Return a chunk that is DONE and not collected yet, or -1.

        Each member begins at its own part, so that no owner serves all members at once.
        """
        cdef int c, i, begin = self.own_part(self.record.group.me)
        for i in range(self.layout.chunks):
            c = (begin + i) % self.layout.chunks
            if not self.in_output[c] and self.is_done(c):
                return c
        return -1

    cdef bint is_done(self, int c) noexcept nogil:
        """Return whether a chunk is known to be DONE."""
        return word_step(self.words[c]) == self.record.step and chunk_mark(self.words[c]) == DONE

    cdef int begin_looks(self) except -1 nogil:
        """Begin to load the words of chunks that other members are still to finish.

        All of them if this rank has nothing else to do; else a few, in turn, while a lane is free.
        """
        cdef int c, i, most
        cdef uint64_t mine = pack_chunk(self.record.step, CLAIMED, self.record.group.me)
        if self.busy_lanes + self.claims >= self.window.lanes:
            return 0
        most = self.layout.chunks if self.busy_lanes + self.claims == 0 else 2 * self.window.lanes
        for i in range(self.layout.chunks):
            if most == 0:
                break
            c = self.next_look
            self.next_look = (c + 1) % self.layout.chunks
            if not self.in_output[c] and self.words[c] != mine and not self.is_done(c):
                self.window.load(self.record.home, self.layout.chunk_word(self.record.number, c), 1, &self.words[c])
                most -= 1
        return 0

    # Lanes.

    cdef int occupy_lane(self, int c) noexcept nogil:
        """Return the next free lane, for a chunk."""
        cdef int lane = (self.first_lane + self.busy_lanes) % self.window.lanes
        self.lane_chunk[lane] = c
        self.busy_lanes += 1
        return lane

    cdef int complete_lane(self, LeafPointers pointers) except -1 nogil:
        """Sum or collect the chunk of the lane that has been busy for longest."""
        cdef int lane = self.first_lane, c = self.lane_chunk[lane]
        self.first_lane = (lane + 1) % self.window.lanes
        self.busy_lanes -= 1
        if self.in_output[c]:
            self.sums.end_collecting(lane, c, pointers)
            self.left -= 1
            self.idle = self.waiter.begin(0)
            self.collect_seconds = estimate(self.collect_seconds, self.idle.since - self.chunk_began)
        else:
            self.sums.end_sum(lane, c, pointers)
            self.summing -= 1
            self.summed, self.done_expected = c, self.words[c]
            self.idle = self.waiter.begin(0)
            self.sum_seconds = estimate(self.sum_seconds, self.idle.since - self.chunk_began)
        self.chunk_began = self.idle.since
        return 0

    cdef int wait_or_take_over(self, LeafPointers pointers) except -1 nogil:
        """Wait for the members that have claimed the chunks that are left; after a long time sum one of these again."""
        cdef double now = self.waiter.now()
        cdef int c = 0
        if now - self.idle.since < max(self.window.least_take_over, TAKE_OVER * self.sum_seconds):
            self.waiter.pause(&self.idle)
            self.chunk_began = self.waiter.now()
            self.seconds_waited += self.chunk_began - now
            return 0
        while self.in_output[c]:
            c += 1
        assert word_step(self.words[c]) == self.record.step and chunk_mark(self.words[c]) == CLAIMED
        self.sums.begin_sum(0, c, pointers)
        self.sums.end_sum(0, c, pointers)
        self.summed, self.done_expected = c, self.words[c]
        return 0
