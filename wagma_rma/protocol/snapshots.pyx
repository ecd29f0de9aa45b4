"""The models that a rank publishes, and the pins that keep them.

A rank publishes into the slot of a snapshot that nobody reads. Whoever wants to read the newest snapshot of a
rank adds one pin to its `published` word; the same addition tells step and slot. To unpin is to subtract
one from `retired[slot]`. When the owner moves on to another slot it adds to `retired` of the old one the pins
that were taken meanwhile; a slot that is not current and whose `retired` is zero may be written.

Such a slot may be lent to the caller, as memory for its model, until that is published as it lies there.
"""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from wagma_rma.kernels.kernels cimport wagma_average, wagma_copy, wagma_output, wagma_sum
from wagma_rma.protocol.layout cimport SECTIONS, Leaf, Section
from wagma_rma.waiting.waiter cimport Wait
from wagma_rma.protocol.words cimport one_pin, pack_published, published_pins

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
        self.lent = <char*> calloc(layout.slots, 1)
        if self.retired is NULL or self.lent is NULL or (self.spare is NULL and layout.snapshot_bytes):
            raise MemoryError(f"GroupAverager: no memory for {layout.snapshot_bytes} bytes")

    def __dealloc__(self):
        free(self.retired)
        free(self.spare)
        free(self.lent)

    def prepare(self, LeafPointers pointers):
        """Copy the model at the start of a run into the first snapshot; return it as writable bytes."""
        self.own = self.window.own(self.layout.snapshot(self.current_slot))
        self.gather(pointers)
        return PyMemoryView_FromMemory(self.own, self.layout.snapshot_bytes, PyBUF_WRITE)

    def begin(self, uint64_t step):
        """Publish what prepare() has returned, as the model of `step`."""
        with nogil:
            self.window.wrote(self.layout.snapshot(self.current_slot), self.layout.snapshot_bytes)
            self.move_on(step, self.current_slot)

    def restore_all(self, LeafPointers pointers):
        """Copy the model as published into the caller's output."""
        with nogil:
            self.restore(pointers)

    cdef int publish(self, uint64_t step, LeafPointers pointers, double patience) except -1 nogil:
        """Publish the caller's model as this rank's of `step`; return whether a slot was free.

        Either way `own` holds it afterwards.
        """
        cdef int slot = self.lent_slot_of(pointers)
        if slot >= 0:
            self.lent[slot] = False
            self.seconds_waited = 0
        else:
            slot = self.free_slot(patience)
        if slot < 0:
            self.own = self.spare
            self.gather(pointers)
            return 0
        self.write(slot, pointers)
        self.move_on(step, slot)
        return 1

    cdef int free_slot(self, double patience) except -2 nogil:
        """Return a slot that may be written, or -1 if there is none within `patience` seconds."""
        cdef Wait wait
        cdef double now = -1  # nobody waits yet, so no clock is read
        cdef int slot
        self.seconds_waited = 0
        while True:
            self.window.load(self.window.rank, self.layout.retired, self.layout.slots, self.retired)
            self.window.complete()
            # Pairs with unpin(): a slot that is found free has been read to the end by all who pinned it.
            for slot in range(self.layout.slots):
                if slot != self.current_slot and self.retired[slot] == 0 and not self.lent[slot]:
                    return slot
            if now < 0:
                wait = self.window.waiter.begin(0)
                now = wait.since
                wait.until = now + patience
            if now >= wait.until or self.window.waiter.interrupted:
                return -1
            self.window.waiter.pause(&wait)
            now = self.window.waiter.now()
            self.seconds_waited = now - wait.since

    cdef int write(self, int slot, LeafPointers pointers) except -1 nogil:
        self.own = self.window.own(self.layout.snapshot(slot))
        self.gather(pointers)
        self.window.wrote(self.layout.snapshot(slot), self.layout.snapshot_bytes)
        return 0

    cdef int gather(self, LeafPointers pointers) except -1 nogil:
        """Copy the caller's model into `own`, leaf by leaf, but for those that lie there."""
        cdef int i
        cdef Leaf* leaf
        cdef char* place
        for i in range(pointers.count):
            leaf = &self.layout.leaves[i]
            if pointers.sources[i] is NULL and leaf.count > 0:
                with gil:
                    pointers.fetch(i)
            place = self.own + self.layout.leaf_place(i)
            if pointers.sources[i] != place:
                wagma_copy(place, pointers.sources[i], leaf.count * self.layout.sections[leaf.kind].width,
                           self.layout.streams_window)
        return 0

    cdef int restore(self, LeafPointers pointers) except -1 nogil:
        """Copy `own` into the caller's output, leaf by leaf."""
        cdef int i
        cdef Leaf* leaf
        for i in range(pointers.count):
            leaf = &self.layout.leaves[i]
            wagma_copy(pointers.targets[i], self.own + self.layout.leaf_place(i),
                       leaf.count * self.layout.sections[leaf.kind].width, self.streams(pointers, i))
        return 0

    cdef bint streams(self, LeafPointers pointers, int i) noexcept nogil:
        """Say whether the output of the i-th leaf is written past the caches."""
        return self.layout.streams_in_place if pointers.targets[i] == pointers.sources[i] else self.layout.streams_output

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

    # Slots that are lent to the caller.

    def lend(self):
        """Lend a free slot to the caller, or return -1 if there is none now."""
        cdef int slot
        with nogil:
            slot = self.free_slot(0)
        if slot >= 0:
            self.lent[slot] = True
        return slot

    def take_back(self, int slot):
        """End the loan of a slot that the caller does not write to any more."""
        self.lent[slot] = False

    def is_lent(self, int slot):
        """Say whether a slot is lent still: it is the caller's until its model is published there."""
        return bool(self.lent[slot])

    def address(self, int slot):
        """Return the address of a slot's memory."""
        return <uintptr_t> self.window.own(self.layout.snapshot(slot))

    cdef int lent_slot_of(self, LeafPointers pointers) noexcept nogil:
        """Return the lent slot that the caller's model lies in as it would be copied, and no output does; or -1."""
        cdef int slot, i
        cdef char* begin
        cdef bint there
        for slot in range(self.layout.slots):
            if not self.lent[slot]:
                continue
            begin = self.window.own(self.layout.snapshot(slot))
            there = self.layout.sums_bytes > 0  # nothing lies nowhere
            for i in range(pointers.count):
                if self.layout.leaves[i].count > 0:
                    there = (there and pointers.sources[i] == begin + self.layout.leaf_place(i)
                             and not begin <= pointers.targets[i] < begin + self.layout.snapshot_bytes)
            if there:
                return slot
        return -1

    # A synchronising step: the MPI library sums what lies in result 0 into result 1. All ranks have left
    # their earlier steps by then, so nobody reads results.

    def contribute(self, LeafPointers pointers):
        """Widen the caller's model into the accumulators of result 0."""
        cdef int i
        cdef Leaf* leaf
        cdef Section* section
        with nogil:
            for i in range(pointers.count):
                leaf = &self.layout.leaves[i]
                section = &self.layout.sections[leaf.kind]
                if pointers.sources[i] is NULL and leaf.count > 0:
                    with gil:
                        pointers.fetch(i)
                wagma_sum(leaf.kind, self.accumulators(0, leaf.kind) + leaf.begin * section.sum_width,
                          <const void* const*> &pointers.sources[i], 1, leaf.count, False, NULL)

    def publish_mean(self, uint64_t step):
        """Publish the sums in result 1, divided by the number of ranks, as this rank's model of `step`."""
        cdef int kind, slot
        cdef Section* section
        cdef wagma_output output
        output.own = NULL
        output.divisor = self.window.ranks
        output.stream = self.layout.streams_window
        with nogil:
            slot = self.free_slot(0)
            if slot < 0:
                with gil:
                    raise RuntimeError(f"synchronize: rank {self.window.rank} finds all its snapshots pinned at "
                                       f"step {step} ({self.pins()}); this is a defect of wagma_rma")
            self.own = self.window.own(self.layout.snapshot(slot))
            for kind in range(SECTIONS):
                section = &self.layout.sections[kind]
                output.out = self.own + section.snapshot
                wagma_average(kind, self.accumulators(1, kind), section.count, &output)
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
