"""Windows in one process whose every access is a turn of a scheduler, on a memory as weak as a network's.

What other ranks see, and when, is what ``Window`` promises and no more:

- An operation on a word happens at any time between its verb and complete(), in any order with those on other words.
- Bulk data moves in pieces. The pieces of a write become visible in any order, at the latest at the write fence. The
  pieces of a read are read between its verb and complete_reads(), in any order.
- A change of a word may become visible after bulk writes that follow it, unless a write fence or another word verb
  stands between (``simulated_memory``).
- Without a read fence a load after a bulk read may find what the word held before that read, and what was
  computed from the data may turn out to be garbage if the source changes before the fence (``unfenced_reads``).

So a fence that is missing makes some schedule fail, on any machine.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset
from wagma_rma.testing.scheduler cimport COMPARE_AND_SWAP, FETCH_ADD, FETCH_MAX, LOAD
from wagma_rma.testing.simulated_memory cimport WROTE
from wagma_rma.testing.unfenced_reads cimport UnfencedReads, overlap

cdef enum:
    PIECES = 2    # of a bulk transfer, at least, if it has as many elements
    ELEMENT = 8   # bytes that never tear
cdef double LONG = 1.0  # seconds: longer than the patience of any rank
cdef double LONGEST = 100.0  # clocks stay so small that 10 us are not lost in their rounding


cdef int64_t piece_bytes(int64_t nbytes) noexcept nogil:
    """Return the size of the pieces of a bulk transfer."""
    return max(ELEMENT, (nbytes // PIECES + ELEMENT - 1) // ELEMENT * ELEMENT)


cdef class SimulatedWindow(Window):
    """One rank's window on a simulated memory, for the thread that is this rank.

    Args:
        memory: of all ranks.
        rank: this one.
        lanes: sets of bulk reads that may be in flight at a time.
    """

    def __cinit__(self, SimulatedMemory memory, int rank, int lanes=1):
        self.memory = memory
        self.scheduler = memory.scheduler
        self.rank = rank
        self.ranks = memory.ranks
        self.nbytes = memory.nbytes
        self.lanes = lanes
        self.waiter = ScheduledWaiter(self.scheduler, rank)
        self.private = <char*> calloc(self.nbytes, 1)
        if self.private is NULL:
            raise MemoryError(f"SimulatedWindow: no memory for {self.nbytes} bytes")
        self.unfenced = UnfencedReads(memory, rank)
        self.unfenced.private = self.private

    def __dealloc__(self):
        free(self.private)
        free(self.pending)
        free(self.scratch)

    # Operations begin here and happen in settle().

    cdef Pending* begin(self, int transfer, int rank, int64_t offset, int64_t nbytes) except NULL nogil:
        """Begin an operation; the caller fills in the rest of it."""
        cdef Pending* item
        if self.pending_count == self.pending_room:
            self.pending_room = max(64, 2 * self.pending_room)
            self.pending = <Pending*> realloc(self.pending, self.pending_room * sizeof(Pending))
            if self.pending is NULL:
                with gil:
                    raise MemoryError("SimulatedWindow: no memory for a table")
        item = &self.pending[self.pending_count]
        memset(item, 0, sizeof(Pending))
        item.transfer, item.rank, item.offset, item.nbytes = transfer, rank, offset, nbytes
        self.pending_count += 1
        return item

    cdef Pending* begin_word(self, int verb, int rank, int64_t word, uint64_t* found) except NULL nogil:
        """Begin an operation on a word."""
        cdef Pending* item = self.begin(WORD, rank, word, 8)
        item.verb, item.found = verb, found
        return item

    cdef bint must_wait(self, int i) noexcept nogil:
        """Return whether an operation must wait for one that began before: on the same bytes they keep their order."""
        cdef int j
        cdef Pending* item = &self.pending[i]
        cdef Pending* before
        for j in range(i):
            before = &self.pending[j]
            if (before.transfer == item.transfer and before.rank == item.rank and item.transfer != READ
                    and overlap(item.offset, item.nbytes, before.offset, before.nbytes)):
                return True
        return False

    cdef int settle(self, int transfer, int lane) except -1 nogil:
        """Have all pending operations of a transfer (READ: of a lane) happen, one a turn, and perhaps others first."""
        cdef int[255] able
        cdef int count, i, others
        if self.scheduler.silences:
            with gil:
                self.silence()
        while True:
            count = 0
            for others in range(2):
                for i in range(self.pending_count):
                    if (count < 255 and others != (self.pending[i].transfer == transfer and (
                            transfer != READ or self.pending[i].lane == lane)) and not self.must_wait(i)):
                        able[count] = i
                        count += 1
                if count == 0:
                    return 0
            self.scheduler.turn(self.rank, False)
            i = able[self.scheduler.choose(count)]
            self.perform(&self.pending[i])
            self.pending_count -= 1
            memmove(&self.pending[i], &self.pending[i + 1], (self.pending_count - i) * sizeof(Pending))

    cdef int silence(self) except -1:
        """End this round trip by an exception, if the schedule says so."""
        cdef int i, count = 0, words = 0, happen = 0
        if not self.scheduler.running:
            return 0
        self.trips += 1
        error = self.scheduler.silence(self.rank, self.trips)
        if error is None:
            return 0
        for i in range(self.pending_count):
            words += self.pending[i].transfer == WORD
        while happen < words and self.scheduler.flip():
            happen += 1
        for i in range(self.pending_count):
            if self.pending[i].transfer == WRITE:
                # Into its own memory: it happens later.
                self.pending[count] = self.pending[i]
                count += 1
            elif self.pending[i].transfer == WORD and happen > 0:
                happen -= 1
                self.perform(&self.pending[i])
        self.pending_count = count
        # As a wait for the memory of another host does.
        self.waiter.interruption = error
        self.waiter.interrupted = True
        return self.waiter.raise_interruption()

    cdef int perform(self, Pending* item) except -1 nogil:
        if item.transfer == WORD:
            return self.perform_word(item)
        if item.transfer == WRITE:
            return self.perform_write(item)
        if item.rank == self.rank:
            memcpy(item.into, self.private + item.offset, item.nbytes)
        else:
            memcpy(item.into, self.memory.base[item.rank] + item.offset, item.nbytes)
        return 0

    cdef int perform_write(self, Pending* item) except -1 nogil:
        self.memory.show(self.rank, item.offset, self.private + item.offset, item.nbytes)
        with gil:
            for other in self.memory.unfenced:
                if other is not None:
                    (<UnfencedReads> other).spoil(self.rank, item.offset, item.nbytes)
        return 0

    cdef int perform_word(self, Pending* item) except -1 nogil:
        cdef uint64_t before = (<uint64_t*> (self.memory.base[item.rank] + item.offset))[0], after = before, old
        self.scheduler.count_operation(self.rank, item.verb)
        # All ranks see this rank's word verbs in the same order.
        self.memory.show_change(self.rank)
        if item.verb == LOAD:
            before = self.memory.visible(item.rank, item.offset, before)
            old = self.unfenced.old(item.rank, item.offset)
            if self.unfenced.may_be_old and old != before and self.scheduler.flip():
                before = old
            else:
                self.unfenced.may_be_old = False
            item.found[0] = before
            return 0
        self.unfenced.may_be_old = False
        if item.verb == FETCH_ADD:
            after = before + item.value
        elif item.verb == FETCH_MAX:
            after = max(before, item.value)
        elif before == item.expected:
            after = item.value
        item.found[0] = before
        return self.memory.change(self.rank, item.rank, item.offset, before, after)

    # Words.

    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil:
        cdef int i
        for i in range(count):
            self.begin_word(LOAD, rank, word + 8 * i, &values[i])
        return 0

    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil:
        self.begin_word(FETCH_ADD, rank, word, found).value = addend
        return 0

    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil:
        self.begin_word(FETCH_MAX, rank, word, found).value = value
        return 0

    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil:
        cdef Pending* item = self.begin_word(COMPARE_AND_SWAP, rank, word, found)
        item.expected, item.value = expected, desired
        return 0

    cdef int complete(self) except -1 nogil:
        return self.settle(WORD, 0)

    # Bulk memory.

    cdef char* own(self, int64_t offset) noexcept nogil:
        return self.private + offset

    cdef int wrote(self, int64_t offset, int64_t nbytes) except -1 nogil:
        cdef int64_t piece = piece_bytes(nbytes), done = 0
        self.memory.note(self.rank, WROTE, self.rank, offset, 0, nbytes)
        while done < nbytes:
            self.begin(WRITE, self.rank, offset + done, min(piece, nbytes - done))
            done += piece
        return self.unfenced.wrote(offset, nbytes)

    cdef int prepare_reads(self, int sources, int64_t nbytes) except -1:
        self.sources = sources
        self.source_bytes = nbytes
        free(self.scratch)
        self.scratch = <char*> calloc(max(1, self.lanes * sources * nbytes), 1)
        if self.scratch is NULL:
            raise MemoryError(f"SimulatedWindow: no memory for {self.lanes * sources * nbytes} bytes")
        return 0

    cdef int read(self, int lane, int source, int rank, int64_t offset, int64_t nbytes,
                  const void** bytes) except -1 nogil:
        cdef int64_t piece = piece_bytes(nbytes), done = 0
        cdef char* into = self.scratch + (lane * self.sources + source) * self.source_bytes
        cdef Pending* item
        memset(into, 0xcc, self.source_bytes)
        while done < nbytes:
            item = self.begin(READ, rank, offset + done, min(piece, nbytes - done))
            item.lane, item.into = lane, into + done
            done += piece
        bytes[0] = into
        return self.unfenced.begin(lane, rank, offset, nbytes)

    cdef int complete_reads(self, int lane) except -1 nogil:
        self.settle(READ, lane)
        return self.unfenced.complete(lane)

    # Fences.

    cdef int write_fence(self) except -1 nogil:
        self.settle(WORD, 0)
        self.settle(WRITE, 0)
        self.memory.show_change(self.rank)
        return 0

    cdef int read_fence(self) except -1 nogil:
        self.unfenced.fence()
        return 0


cdef class ScheduledWaiter(Waiter):
    """The clock of one rank of a scheduler. Its pause lets the other ranks run."""

    def __init__(self, Scheduler scheduler, int rank):
        self.scheduler = scheduler
        self.rank = rank

    cdef double now(self) noexcept nogil:
        return self.scheduler.clocks[self.rank]

    cdef int pause(self, Wait* wait) except -1 nogil:
        cdef double* clock = &self.scheduler.clocks[self.rank]
        self.scheduler.turn(self.rank, True)
        clock[0] += LONG if self.scheduler.choose(2) else min(max(10e-6, (clock[0] - wait.since) / 4), LONGEST)
        wait.pauses += 1
        if self.scheduler.interrupts and not self.interrupted:
            with gil:
                self.interruption = self.scheduler.interruption(self.rank)
                self.interrupted = self.interruption is not None
        if self.watcher is not None:
            # Ranks may depart, or join, which others learn where they wait.
            self.run_handlers(clock[0] - wait.since, wait.rank)
        return 0
