"""A sequence lock on the sums that ranks keep in their result slots.

A rank has three result slots, and the n-th group step uses slot n mod 3. Nobody waits to read or to write one: the
slot's tag names the step whose sums it holds, and is the lock's sequence number.

    writer  begin_write: raise the tag to v, write fence | write sums | end_write: fences, then DONE in the chunk's word
    reader  begin_read (the chunk's word says DONE) | read sums | end_read: read fence, load the tag

A reader whose tag is still v has read sums of step v only: had it read one byte of a later step, the later tag would
have been visible before that byte.
"""

cimport cython

from libc.stdlib cimport calloc, free
from libc.string cimport memset


@cython.final
cdef class Results:
    """The results of one rank, and its reads of other ranks' results. Local; nothing here waits."""

    def __cinit__(self, Window window, Layout layout):
        self.window = window
        self.layout = layout
        self.read_from = <char*> calloc(layout.group_size, 1)
        self.tags = <uint64_t*> calloc(layout.group_size, sizeof(uint64_t))
        if self.read_from is NULL or self.tags is NULL:
            raise MemoryError("Results: no memory for the table of members")

    def __dealloc__(self):
        free(self.read_from)
        free(self.tags)

    cdef void begin_step(self) noexcept nogil:
        """Forget what was written and read at the step before."""
        self.tagged = False
        memset(self.read_from, 0, self.layout.group_size)

    cdef int begin_write(self, Record record) except -1 nogil:
        """Raise the tag of this rank's slot to a record's step, before the first of its sums changes."""
        cdef uint64_t found
        if self.tagged:
            return 0
        self.window.fetch_max(self.window.rank, self.layout.tag(record.number), record.step, &found)
        self.window.complete()
        # Tag before data. Pairs with the read fence in end_read().
        self.window.write_fence()
        self.tagged = True
        return 0

    cdef int end_write(self, int64_t place, int64_t nbytes) except -1 nogil:
        """End the write of a chunk's sums: all ranks see them before they see its word DONE."""
        self.window.wrote(place, nbytes)
        # The reads of the sources are over before DONE. Pairs, through `finished` and unpin(), with
        # Snapshots.free_slot().
        self.window.read_fence()
        # Sums before DONE. Pairs with the load of the chunk's word in Exchange.
        self.window.write_fence()
        return 0

    cdef int64_t begin_read(self, Record record, int member) noexcept nogil:
        """Return where a member's sums at a record's step begin in its window; end_read() looks at its tag."""
        self.read_from[member] = True
        return self.layout.result(record.number)

    cdef int end_read(self, Record record, bint* kept) except -1 nogil:
        """Find out whether all that was read at a record's step was that step's when it was read."""
        cdef uint64_t step = record.step
        cdef int m
        # Data before tag. Pairs with the write fence in begin_write().
        self.window.read_fence()
        for m in range(record.group.size):
            self.tags[m] = step
            if self.read_from[m]:
                self.window.load(record.group.ranks[m], self.layout.tag(record.number), 1, &self.tags[m])
        self.window.complete()
        kept[0] = True
        for m in range(record.group.size):
            kept[0] = kept[0] and self.tags[m] == step
        return 0
