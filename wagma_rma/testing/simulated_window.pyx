"""Windows in one process whose every access is a turn of a scheduler, on a memory as weak as a network's.

What others may see, and when, is what ``Window`` promises and no more:

- an operation on a word happens at any time between its verb and complete(), in any order with those on other words;
- bulk data moves in pieces: a write becomes visible piece by piece in any order, at the latest at the write
  fence; a read is made piece by piece between its verb and complete_reads();
- a change of a word may become visible after bulk writes that follow it, unless a write fence or another word verb
  stands between;
- without a read fence a load after a bulk read may find what the word held before that read, and what was
  computed from the data may turn out to be garbage if the source changes before the fence.

So a fence that is missing makes some schedule fail, on any machine.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset
from wagma_rma.testing.scheduler cimport COMPARE_AND_SWAP, FETCH_ADD, FETCH_MAX, LOAD, STORE

cdef enum Seen:
    CHANGED = 0  # a word: before, after
    WROTE = 1    # a bulk write has begun: its bytes in `after`
    SHOWN = 2    # a piece of it has become visible: its bytes in `after`

NAMES = ("changed", "wrote", "shown")
cdef enum:
    PIECES = 2    # of a bulk transfer, at least, if it has as many elements
    ELEMENT = 8   # bytes that never tear
cdef double LONG = 1.0  # seconds: longer than anyone's patience


cdef int grow(void** table, int count, int* room, size_t width) except -1 nogil:
    """Make room for one entry more."""
    if count < room[0]:
        return 0
    room[0] = max(64, 2 * room[0])
    table[0] = realloc(table[0], room[0] * width)
    if table[0] is NULL:
        with gil:
            raise MemoryError("SimulatedWindow: no memory for a table")
    return 0


cdef int add_range(Range** table, int* count, int* room, Range entry) except -1 nogil:
    grow(<void**> table, count[0], room, sizeof(Range))
    table[0][count[0]] = entry
    count[0] += 1
    return 0


cdef bint overlap(int64_t offset, int64_t nbytes, int64_t other, int64_t other_nbytes) noexcept nogil:
    return offset < other + other_nbytes and other < offset + nbytes


cdef int64_t piece_bytes(int64_t nbytes) noexcept nogil:
    """Return the size of the pieces in which a bulk transfer is made."""
    return max(ELEMENT, (nbytes // PIECES + ELEMENT - 1) // ELEMENT * ELEMENT)


cdef void garble(char* data, int64_t nbytes) noexcept nogil:
    cdef int64_t i
    for i in range(nbytes):
        data[i] = data[i] ^ 0x55


cdef class SimulatedMemory:
    """The memory behind the windows of all ranks of a scheduler.

    Args:
        scheduler: decides who goes on, and whatever else may come one way or another.
        nbytes: the size of each rank's window.
        words: how many of the first bytes hold words; they begin as zero, the rest as garbage.
    """

    def __cinit__(self, Scheduler scheduler, int64_t nbytes, int64_t words):
        cdef int rank
        self.scheduler = scheduler
        self.ranks = scheduler.ranks
        self.nbytes = nbytes
        self.words = words
        self.windows = [None] * self.ranks
        self.base = <char**> calloc(self.ranks, sizeof(char*))
        self.hidden = <Hidden*> calloc(self.ranks, sizeof(Hidden))
        if self.base is NULL or self.hidden is NULL:
            raise MemoryError("SimulatedMemory: no memory for the table of ranks")
        for rank in range(self.ranks):
            self.base[rank] = <char*> calloc(nbytes, 1)
            if self.base[rank] is NULL:
                raise MemoryError(f"SimulatedMemory: no memory for {nbytes} bytes")
            memset(self.base[rank] + words, 0xa5, nbytes - words)

    def __dealloc__(self):
        for rank in range(self.ranks):
            free(self.base[rank])
        free(self.base)
        free(self.hidden)
        free(self.log)

    cdef int note(self, int rank, int kind, int target, int64_t offset, uint64_t before,
                  uint64_t after) except -1 nogil:
        """Log an event."""
        cdef Event* event
        if self.log_count == self.log_room:
            self.log_room = max(1024, 2 * self.log_room)
            self.log = <Event*> realloc(self.log, self.log_room * sizeof(Event))
            if self.log is NULL:
                with gil:
                    raise MemoryError("SimulatedMemory: no memory for the log")
        event = &self.log[self.log_count]
        event.turn = self.scheduler.turns
        event.rank, event.kind, event.target, event.offset = rank, kind, target, offset
        event.before, event.after = before, after
        self.log_count += 1
        return 0

    def events(self):
        """Return all that happened to the memory, as (turn, rank, kind, target, offset, before, after) in order.

        `rank` did it to the memory of `target`. Kinds: "changed", a word from `before` to `after`; "wrote", a bulk
        write of `after` bytes has begun; "shown", `after` bytes of it have become visible.
        """
        cdef int64_t i
        return [
            (self.log[i].turn, self.log[i].rank, NAMES[self.log[i].kind], self.log[i].target, self.log[i].offset,
             self.log[i].before, self.log[i].after)
            for i in range(self.log_count)
        ]


cdef class SimulatedWindow(Window):
    """One rank's window on a simulated memory, for the thread that is this rank.

    Args:
        memory: that of all ranks.
        rank: this one.
        lanes: batches of bulk reads that may be in flight at a time.
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
        self.old_words = <uint64_t*> calloc(max(1, self.ranks * memory.words), 1)
        if self.private is NULL or self.old_words is NULL:
            raise MemoryError(f"SimulatedWindow: no memory for {self.nbytes} bytes")
        memory.windows[rank] = self

    def __dealloc__(self):
        free(self.private)
        free(self.pending)
        free(self.scratch)
        free(self.old_words)
        free(self.reading)
        free(self.unfenced)
        free(self.sums)

    # Operations begin here and happen in settle().

    cdef int begin(self, int kind, int rank, int64_t offset, int64_t nbytes, uint64_t* found) except -1 nogil:
        """Note an operation as begun; the caller fills in the rest of the last entry."""
        cdef Pending* item
        grow(<void**> &self.pending, self.pending_count, &self.pending_room, sizeof(Pending))
        item = &self.pending[self.pending_count]
        memset(item, 0, sizeof(Pending))
        item.kind, item.rank, item.offset, item.nbytes, item.found = kind, rank, offset, nbytes, found
        self.pending_count += 1
        return 0

    cdef bint waits_its_turn(self, int i) noexcept nogil:
        """Say whether an operation must come after one that began before: on the same bytes they keep their order."""
        cdef int j
        cdef Pending* item = &self.pending[i]
        cdef Pending* other
        for j in range(i):
            other = &self.pending[j]
            if (other.kind == item.kind and other.rank == item.rank and item.kind != READ
                    and overlap(item.offset, item.nbytes, other.offset, other.nbytes)):
                return True
        return False

    cdef int settle(self, int kind, int lane) except -1 nogil:
        """Have all pending operations of a kind (READ: of a lane) happen, one a turn, and maybe others first."""
        cdef int[255] able
        cdef int count, i, others
        while True:
            count = 0
            for others in range(2):
                for i in range(self.pending_count):
                    if (count < 255 and others != (self.pending[i].kind == kind and (
                            kind != READ or self.pending[i].lane == lane)) and not self.waits_its_turn(i)):
                        able[count] = i
                        count += 1
                if count == 0:
                    return 0
            self.scheduler.turn(self.rank, False)
            i = able[self.scheduler.choose(count)]
            self.perform(&self.pending[i])
            self.pending_count -= 1
            memmove(&self.pending[i], &self.pending[i + 1], (self.pending_count - i) * sizeof(Pending))

    cdef int perform(self, Pending* item) except -1 nogil:
        if item.kind == WORD:
            return self.perform_word(item)
        if item.kind == WRITE:
            return self.show(item.offset, item.nbytes)
        if item.rank == self.rank:
            memcpy(item.into, self.private + item.offset, item.nbytes)
        else:
            memcpy(item.into, self.memory.base[item.rank] + item.offset, item.nbytes)
        return 0

    cdef int perform_word(self, Pending* item) except -1 nogil:
        cdef uint64_t* word = <uint64_t*> (self.memory.base[item.rank] + item.offset)
        cdef uint64_t before = word[0], after = before
        cdef uint64_t old = self.old_words[item.rank * (self.memory.words // 8) + item.offset // 8]
        cdef int r
        cdef Hidden* hidden
        self.scheduler.did(self.rank, item.verb)
        # This rank's word verbs have one order for all.
        self.memory.hidden[self.rank].active = False
        if item.verb == LOAD:
            for r in range(self.ranks):
                hidden = &self.memory.hidden[r]
                if hidden.active and hidden.rank == item.rank and hidden.word == item.offset:
                    if self.scheduler.flip():
                        before = hidden.before
                    else:
                        hidden.active = False
            if self.may_be_old and old != before and self.scheduler.flip():
                before = old
            else:
                self.may_be_old = False
            item.found[0] = before
            return 0
        self.may_be_old = False
        if item.verb == STORE:
            after = item.value
        elif item.verb == FETCH_ADD:
            after = before + item.value
        elif item.verb == FETCH_MAX:
            after = max(before, item.value)
        elif before == item.expected:
            after = item.value
        for r in range(self.ranks):
            hidden = &self.memory.hidden[r]
            if hidden.rank == item.rank and hidden.word == item.offset:
                hidden.active = False
        word[0] = after
        if item.found is not NULL:
            item.found[0] = before
        if after != before:
            self.memory.note(self.rank, CHANGED, item.rank, item.offset, before, after)
            hidden = &self.memory.hidden[self.rank]
            hidden.active, hidden.rank, hidden.word, hidden.before = True, item.rank, item.offset, before
        return 0

    # Words.

    cdef int load(self, int rank, int64_t word, int count, uint64_t* values) except -1 nogil:
        cdef int i
        for i in range(count):
            self.begin(WORD, rank, word + 8 * i, 8, &values[i])
        return 0

    cdef int store(self, int rank, int64_t word, uint64_t value) except -1 nogil:
        self.begin(WORD, rank, word, 8, NULL)
        self.pending[self.pending_count - 1].verb = STORE
        self.pending[self.pending_count - 1].value = value
        return 0

    cdef int fetch_add(self, int rank, int64_t word, uint64_t addend, uint64_t* found) except -1 nogil:
        self.begin(WORD, rank, word, 8, found)
        self.pending[self.pending_count - 1].verb = FETCH_ADD
        self.pending[self.pending_count - 1].value = addend
        return 0

    cdef int fetch_max(self, int rank, int64_t word, uint64_t value, uint64_t* found) except -1 nogil:
        self.begin(WORD, rank, word, 8, found)
        self.pending[self.pending_count - 1].verb = FETCH_MAX
        self.pending[self.pending_count - 1].value = value
        return 0

    cdef int compare_and_swap(self, int rank, int64_t word, uint64_t expected, uint64_t desired,
                              uint64_t* found) except -1 nogil:
        self.begin(WORD, rank, word, 8, found)
        self.pending[self.pending_count - 1].verb = COMPARE_AND_SWAP
        self.pending[self.pending_count - 1].expected = expected
        self.pending[self.pending_count - 1].value = desired
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
            self.begin(WRITE, self.rank, offset + done, min(piece, nbytes - done), NULL)
            done += piece
        if self.unfenced_count:
            add_range(&self.sums, &self.sum_count, &self.sum_room, Range(0, self.rank, offset, nbytes))
        return 0

    cdef int show(self, int64_t offset, int64_t nbytes) except -1 nogil:
        """Let the others see a part of what this rank has written."""
        memcpy(self.memory.base[self.rank] + offset, self.private + offset, nbytes)
        self.memory.note(self.rank, SHOWN, self.rank, offset, 0, nbytes)
        with gil:
            for other in self.memory.windows:
                if other is not None and other is not self:
                    (<SimulatedWindow> other).spoil(self.rank, offset, nbytes)
        return 0

    cdef void spoil(self, int rank, int64_t offset, int64_t nbytes) noexcept nogil:
        """Spoil what this rank has computed from data that now changes, since it may not have been read before."""
        cdef int i
        cdef int64_t b
        cdef Range* source
        for i in range(self.unfenced_count):
            source = &self.unfenced[i]
            if source.rank == rank and overlap(source.offset, source.nbytes, offset, nbytes):
                break
        else:
            return
        for i in range(self.sum_count):
            garble(self.private + self.sums[i].offset, self.sums[i].nbytes)
            garble(self.memory.base[self.rank] + self.sums[i].offset, self.sums[i].nbytes)
        self.sum_count = 0

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
        cdef int r
        if not self.may_be_old:
            self.may_be_old = True
            for r in range(self.ranks):
                memcpy(<char*> self.old_words + r * self.memory.words, self.memory.base[r], self.memory.words)
        memset(into, 0xcc, self.source_bytes)
        while done < nbytes:
            self.begin(READ, rank, offset + done, min(piece, nbytes - done), NULL)
            self.pending[self.pending_count - 1].lane = lane
            self.pending[self.pending_count - 1].into = into + done
            done += piece
        add_range(&self.reading, &self.reading_count, &self.reading_room, Range(lane, rank, offset, nbytes))
        bytes[0] = into
        return 0

    cdef int complete_reads(self, int lane) except -1 nogil:
        cdef int i, left = 0
        self.settle(READ, lane)
        self.unfenced_count = self.sum_count = 0
        for i in range(self.reading_count):
            if self.reading[i].lane == lane:
                add_range(&self.unfenced, &self.unfenced_count, &self.unfenced_room, self.reading[i])
            else:
                self.reading[left] = self.reading[i]
                left += 1
        self.reading_count = left
        return 0

    # Fences.

    cdef int write_fence(self) except -1 nogil:
        self.settle(WORD, 0)
        self.settle(WRITE, 0)
        self.memory.hidden[self.rank].active = False
        return 0

    cdef int read_fence(self) except -1 nogil:
        self.may_be_old = False
        self.unfenced_count = self.sum_count = 0
        return 0


cdef class ScheduledWaiter(Waiter):
    """The clock of one rank of a scheduler: a pause lets the other ranks go on."""

    def __init__(self, Scheduler scheduler, int rank):
        self.scheduler = scheduler
        self.rank = rank

    cdef double now(self) noexcept nogil:
        return self.scheduler.clocks[self.rank]

    cdef int pause(self, Wait* wait) except -1 nogil:
        cdef double* clock = &self.scheduler.clocks[self.rank]
        self.scheduler.turn(self.rank, True)
        clock[0] += LONG if self.scheduler.choose(2) else max(10e-6, (clock[0] - wait.since) / 4)
        wait.turns += 1
        if self.scheduler.interrupts and not self.interrupted:
            with gil:
                self.interruption = self.scheduler.interruption(self.rank)
                self.interrupted = self.interruption is not None
        return 0
