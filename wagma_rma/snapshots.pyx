"""The models that a rank publishes, and the pins that keep them.

A rank publishes into the slot of a snapshot that nobody reads. Whoever wants to read the newest snapshot of a
rank adds one pin to its `published` word; the same addition tells step and slot. To unpin is to subtract
one from `retired[slot]`. When the owner moves on to another slot it adds to `retired` of the old one the pins
that were taken meanwhile; a slot that is not current and whose `retired` is zero may be written.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc
from wagma_rma.kernels cimport wagma_copy, wagma_scale, wagma_sum
from wagma_rma.layout cimport SECTIONS, Leaf, Section
from wagma_rma.window cimport Wait
from wagma_rma.words cimport one_pin, pack_published, published_pins

from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory

cdef uint64_t PINS = (1 << 20) - 1  # the pins field counts modulo 2^20


cdef class Snapshots:
    """The snapshots of this rank, and pins on those of others. Local; nothing here waits but free_slot()."""

    def __cinit__(self, Window window, Layout layout):
        self.window = window
        self.layout = layout
        self.retired = <uint64_t*> calloc(layout.slots, sizeof(uint64_t))
        # Taken now, since a step once begun can't fail, and touched only if it is ever needed.
        self.spare = <char*> malloc(layout.snapshot_bytes)
        if self.retired is NULL or (self.spare is NULL and layout.snapshot_bytes):
            raise MemoryError(f"GroupAverager: no memory for {layout.snapshot_bytes} bytes")

    def __dealloc__(self):
        free(self.retired)
        free(self.spare)

    def prepare(self, Pieces pieces):
        """Copy the model at the start of a run into the first snapshot; return it as writable bytes."""
        self.own = self.window.own(self.layout.snapshot(self.current_slot))
        self.gather(pieces)
        return PyMemoryView_FromMemory(self.own, self.layout.snapshot_bytes, PyBUF_WRITE)

    def begin(self, uint64_t step):
        """Publish what prepare() has returned, as the model of `step`."""
        with nogil:
            self.window.wrote(self.layout.snapshot(self.current_slot), self.layout.snapshot_bytes)
            self.move_on(step, self.current_slot)

    def restore_all(self, Pieces pieces):
        """Copy the model as published into the caller's output."""
        with nogil:
            self.restore(pieces)

    cdef int publish(self, uint64_t step, Pieces pieces, double patience) except -1 nogil:
        """Publish the caller's model as this rank's of `step`; return whether a slot was free.

        Either way `own` holds it afterwards.
        """
        cdef int slot = self.free_slot(patience)
        if slot < 0:
            self.own = self.spare
            self.gather(pieces)
            return 0
        self.write(slot, pieces)
        self.move_on(step, slot)
        return 1

    cdef int free_slot(self, double patience) except -2 nogil:
        """Return a slot that may be written, or -1 if there is none within `patience` seconds."""
        cdef double now = self.window.now()
        cdef Wait wait = self.window.wait(now + patience)
        cdef int slot
        while True:
            self.window.load(self.window.rank, self.layout.retired, self.layout.slots, self.retired)
            self.window.complete()
            # Pairs with unpin(): a slot that is found free has been read to the end by all who pinned it.
            for slot in range(self.layout.slots):
                if slot != self.current_slot and self.retired[slot] == 0:
                    self.seconds_waited = now - wait.since
                    return slot
            if now >= wait.until or self.window.interrupted:
                self.seconds_waited = now - wait.since
                return -1
            self.window.pause(&wait)
            now = self.window.now()

    cdef int write(self, int slot, Pieces pieces) except -1 nogil:
        self.own = self.window.own(self.layout.snapshot(slot))
        self.gather(pieces)
        self.window.wrote(self.layout.snapshot(slot), self.layout.snapshot_bytes)
        return 0

    cdef int gather(self, Pieces pieces) except -1 nogil:
        """Copy the caller's model into `own`, leaf by leaf."""
        cdef int i
        cdef Leaf* leaf
        cdef Section* section
        for i in range(pieces.count):
            leaf = &self.layout.leaves[i]
            section = &self.layout.sections[leaf.kind]
            if pieces.sources[i] is NULL and leaf.count > 0:
                with gil:
                    pieces.fetch(i)
            wagma_copy(self.own + section.snapshot + leaf.begin * section.width, pieces.sources[i],
                       leaf.count * section.width, self.layout.streams_snapshot)
        return 0

    cdef int restore(self, Pieces pieces) except -1 nogil:
        """Copy `own` into the caller's output, leaf by leaf."""
        cdef int i
        cdef Leaf* leaf
        cdef Section* section
        for i in range(pieces.count):
            leaf = &self.layout.leaves[i]
            section = &self.layout.sections[leaf.kind]
            wagma_copy(pieces.targets[i], self.own + section.snapshot + leaf.begin * section.width,
                       leaf.count * section.width, self.layout.streams_output)
        return 0

    cdef int move_on(self, uint64_t step, int slot) except -1 nogil:
        """Make a written slot the newest snapshot, and settle the pins of the one before it."""
        cdef uint64_t found, taken
        cdef int old = self.current_slot
        assert slot < self.layout.slots and pack_published(step, slot) >= pack_published(self.current_step, old)
        # Pairs with the pin of whoever reads this snapshot: data before word.
        self.window.write_fence()
        self.window.fetch_add(
            self.window.rank, self.layout.published,
            pack_published(step, slot) - pack_published(self.current_step, old), &found)
        self.window.complete()
        taken = (published_pins(found) - self.pins_settled) & PINS
        self.pins_settled = published_pins(found)
        self.current_step = step
        self.current_slot = slot
        if taken:
            self.window.fetch_add(self.window.rank, self.layout.retired + 8 * old, taken, &found)
            self.window.complete()
        return 0

    cdef int pin(self, int rank, uint64_t* found) except -1 nogil:
        """Start pinning the newest snapshot of a rank: *found names it."""
        return self.window.fetch_add(rank, self.layout.published, one_pin(), found)

    cdef int unpin(self, int rank, int slot) except -1 nogil:
        """Start giving a pin back. The reads it was for must be over (the read fence before a chunk's DONE)."""
        cdef uint64_t minus_one = <uint64_t> 0 - 1
        return self.window.fetch_add(rank, self.layout.retired + 8 * slot, minus_one, &self.ignored)

    # A synchronising step: the MPI library sums what lies in result 0 into result 1. All ranks have left
    # their earlier steps by then, so nobody reads results.

    def contribute(self, Pieces pieces):
        """Widen the caller's model into the accumulators of result 0."""
        cdef int i
        cdef Leaf* leaf
        cdef Section* section
        with nogil:
            for i in range(pieces.count):
                leaf = &self.layout.leaves[i]
                section = &self.layout.sections[leaf.kind]
                if pieces.sources[i] is NULL and leaf.count > 0:
                    with gil:
                        pieces.fetch(i)
                wagma_sum(leaf.kind, self.accumulators(0, leaf.kind) + leaf.begin * section.sum_width,
                          <const void* const*> &pieces.sources[i], 1, leaf.count)

    def publish_mean(self, uint64_t step):
        """Publish the sums in result 1, divided by the number of ranks, as this rank's model of `step`."""
        cdef int kind, slot
        cdef Section* section
        with nogil:
            slot = self.free_slot(0)
            if slot < 0:
                with gil:
                    raise RuntimeError(f"synchronize: rank {self.window.rank} finds all its snapshots pinned at "
                                       f"step {step} ({self.pins()}); this is a defect of wagma_rma")
            self.own = self.window.own(self.layout.snapshot(slot))
            for kind in range(SECTIONS):
                section = &self.layout.sections[kind]
                wagma_scale(kind, self.own + section.snapshot, self.accumulators(1, kind),
                            self.window.ranks, section.count, self.layout.streams_snapshot)
            self.window.wrote(self.layout.snapshot(slot), self.layout.snapshot_bytes)
            self.move_on(step, slot)

    cdef char* accumulators(self, int result, int kind) noexcept nogil:
        return self.window.own(self.layout.result(result)) + self.layout.sections[kind].result

    def sums(self, int result):
        """Return this rank's accumulators as (float64 memoryview, float32 memoryview)."""
        cdef Layout layout = self.layout
        cdef int64_t doubles = layout.sections[1].result
        cdef char* begin = self.accumulators(result, 0)
        return (PyMemoryView_FromMemory(begin, doubles, PyBUF_WRITE).cast("d"),
                PyMemoryView_FromMemory(begin + doubles, layout.sums_bytes - doubles, PyBUF_WRITE).cast("f"))

    def pins(self):
        """Return the pins that are out on each slot of this rank; all zero when nobody is in a group step."""
        cdef uint64_t found
        cdef int slot
        with nogil:
            self.window.load(self.window.rank, self.layout.published, 1, &found)
            self.window.load(self.window.rank, self.layout.retired, self.layout.slots, self.retired)
            self.window.complete()
        out = [<int64_t> self.retired[slot] for slot in range(self.layout.slots)]
        out[self.current_slot] += <int64_t> ((published_pins(found) - self.pins_settled) & PINS)
        return out
