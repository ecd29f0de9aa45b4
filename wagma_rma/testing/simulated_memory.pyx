"""The memory behind simulated windows: what other ranks can see of it, and a log of all that happens to it.

A change of a word may become visible after bulk writes that follow it. So the last change of each rank is *delayed*
until a write fence or another word verb of that rank, or until the schedule shows it to a rank that loads the word.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

NAMES = ("changed", "wrote", "shown")  # of the kinds of events


cdef class SimulatedMemory:
    """The memory behind the windows of all ranks of a scheduler.

    Args:
        scheduler: makes every choice that the memory leaves open.
        nbytes: the size of each rank's window.
        words_bytes: how many of the first bytes hold words; they begin as zero, the rest as garbage.
    """

    def __cinit__(self, Scheduler scheduler, int64_t nbytes, int64_t words_bytes):
        cdef int rank
        self.scheduler = scheduler
        self.ranks = scheduler.ranks
        self.nbytes = nbytes
        self.words_bytes = words_bytes
        self.unfenced = [None] * self.ranks
        self.base = <char**> calloc(self.ranks, sizeof(char*))
        self.delayed = <Delayed*> calloc(self.ranks, sizeof(Delayed))
        if self.base is NULL or self.delayed is NULL:
            raise MemoryError("SimulatedMemory: no memory for the table of ranks")
        for rank in range(self.ranks):
            self.base[rank] = <char*> calloc(nbytes, 1)
            if self.base[rank] is NULL:
                raise MemoryError(f"SimulatedMemory: no memory for {nbytes} bytes")
            memset(self.base[rank] + words_bytes, 0xa5, nbytes - words_bytes)

    def __dealloc__(self):
        for rank in range(self.ranks):
            free(self.base[rank])
        free(self.base)
        free(self.delayed)
        free(self.log)

    # Words.

    cdef uint64_t visible(self, int target, int64_t word, uint64_t value) except? 0 nogil:
        """Return what a load finds in a word that holds `value`: that, or what it held before a delayed change."""
        cdef int rank
        cdef Delayed* delayed
        for rank in range(self.ranks):
            delayed = &self.delayed[rank]
            if delayed.active and delayed.target == target and delayed.word == word:
                if self.scheduler.flip():
                    value = delayed.before
                else:
                    delayed.active = False
        return value

    cdef int change(self, int rank, int target, int64_t word, uint64_t before, uint64_t after) except -1 nogil:
        """Change a word by an operation of `rank`; equal values are an operation that changes nothing."""
        cdef int r
        cdef Delayed* delayed
        for r in range(self.ranks):
            delayed = &self.delayed[r]
            if delayed.target == target and delayed.word == word:
                delayed.active = False
        (<uint64_t*> (self.base[target] + word))[0] = after
        if after != before:
            self.note(rank, CHANGED, target, word, before, after)
            delayed = &self.delayed[rank]
            delayed.active, delayed.target, delayed.word, delayed.before = True, target, word, before
        return 0

    cdef void show_change(self, int rank) noexcept nogil:
        """Make the last change of a word by this rank visible to all."""
        self.delayed[rank].active = False

    # Bulk memory.

    cdef int show(self, int rank, int64_t offset, const char* data, int64_t nbytes) except -1 nogil:
        """Make a piece of a bulk write of `rank` into its own memory visible to all."""
        memcpy(self.base[rank] + offset, data, nbytes)
        return self.note(rank, SHOWN, rank, offset, 0, nbytes)

    # The log.

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
        """Return all events as (turn, rank, kind, target, offset, before, after), in order.

        `rank` acted on the memory of `target`. Kinds: "changed", a word from `before` to `after`; "wrote", a bulk
        write of `after` bytes has begun; "shown", a piece of it, of `after` bytes, has become visible.
        """
        cdef int64_t i
        return [
            (self.log[i].turn, self.log[i].rank, NAMES[self.log[i].kind], self.log[i].target, self.log[i].offset,
             self.log[i].before, self.log[i].after)
            for i in range(self.log_count)
        ]
