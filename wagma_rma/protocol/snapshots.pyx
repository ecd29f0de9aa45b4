"""The models that a rank publishes, and the pins that keep them.

A rank publishes into a slot whose snapshot nobody reads:

1. To read the newest snapshot of a rank, another rank adds one pin to its `published` word; the same addition tells
   step and slot.
2. To unpin is to subtract one from `retired[slot]`.
3. When the owner publishes into another slot it adds to `retired` of the old slot the pins that were added to
   `published` meanwhile. A slot that is not the newest and whose `retired` is zero may be written.

Such a slot may be lent to the caller, as memory for its model. It stays lent until the model is published there, as it
lies.
"""

cimport cython

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from wagma_rma.kernels.kernels cimport WAGMA_DTYPES, wagma_average, wagma_copy, wagma_output, wagma_sum
from wagma_rma.protocol.layout cimport Leaf, Section
from wagma_rma.protocol.words cimport PIN_BITS, mask, one_pin, pack_published, published_pins
from wagma_rma.waiting.waiter cimport Wait

from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory


@cython.final
cdef class Snapshots:
    """The snapshots of this rank, and pins on those of others. Local; nothing here waits but free_slot()."""

    def __cinit__(self, Window window, Layout layout):
        self.window = window
        self.waiter = window.waiter
        self.layout = layout
        self.streaming = Streaming(layout.model_bytes)
        self.retired = <uint64_t*> calloc(layout.slots, sizeof(uint64_t))
        # Allocated now, since a step that has begun must not fail. Its pages are touched only when a step needs it.
        self.spare = <char*> malloc(layout.private_bytes)
        self.lent = <char*> calloc(layout.slots, 1)
        if self.retired is NULL or self.lent is NULL or (self.spare is NULL and layout.private_bytes):
            raise MemoryError(f"Snapshots: no memory for a private model of {layout.private_bytes} bytes")

    def __dealloc__(self):
        free(self.retired)
        free(self.spare)
        free(self.lent)

    def prepare(self, LeafPointers pointers):
        """Copy the model at the start of a run into the first snapshot; return it as writable bytes.

        The leaves that are in no snapshot follow, in the type of their sums: (bytes of the snapshot, their bytes).
        """
        cdef Layout layout = self.layout
        self.own = self.window.own(layout.snapshot(self.current_slot))
        self.gather(pointers)
        self.mean_part, self.mean_divisor = 0, 1
        self.widen(pointers, 0, layout.group_leaves)
        return (PyMemoryView_FromMemory(self.own, layout.snapshot_bytes, PyBUF_WRITE),
                PyMemoryView_FromMemory(self.window.own(layout.region(0)), layout.region_bytes, PyBUF_WRITE))

    def begin(self, uint64_t step):
        """Publish what prepare() has returned, as the model of `step`."""
        with nogil:
            self.window.wrote(self.layout.snapshot(self.current_slot), self.layout.snapshot_bytes)
            self.name_newest(step, self.current_slot)

    def restore_all(self, LeafPointers pointers):
        """Copy the model as published into the caller's output; leaves that are in no snapshot as synchronised last."""
        with nogil:
            self.restore(pointers)
            self.restore_mean(pointers)

    cdef int publish(self, uint64_t step, LeafPointers pointers, double patience) except -1 nogil:
        """Publish the caller's model as this rank's of `step`; return whether a slot was free.

        Either way `own` points to the model afterwards.
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
        self.name_newest(step, slot)
        return 1

    cdef int free_slot(self, double patience) except -2 nogil:
        """Return a slot that may be written, or -1 if none becomes free within `patience` seconds."""
        cdef Wait wait
        cdef double now = -1  # the clock is not read before there is something to wait for
        cdef int slot
        self.seconds_waited = 0
        while True:
            self.window.load(self.window.rank, self.layout.retired, self.layout.slots, self.retired)
            self.window.complete()
            # Pairs with unpin(): all ranks that pinned a slot have read it to the end if it is found free.
            for slot in range(self.layout.slots):
                if slot != self.current_slot and self.retired[slot] == 0 and not self.lent[slot]:
                    return slot
            if now < 0:
                wait = self.waiter.begin(0)
                now = wait.since
                wait.until = now + patience
            if now >= wait.until or self.waiter.interrupted:
                return -1
            self.waiter.pause(&wait)
            now = self.waiter.now()
            self.seconds_waited = now - wait.since

    cdef int write(self, int slot, LeafPointers pointers) except -1 nogil:
        """Copy the caller's model into a free slot."""
        self.own = self.window.own(self.layout.snapshot(slot))
        self.gather(pointers)
        self.window.wrote(self.layout.snapshot(slot), self.layout.snapshot_bytes)
        return 0

    cdef int gather(self, LeafPointers pointers) except -1 nogil:
        """Copy what a snapshot holds of the caller's model into `own`, except leaves that lie there already."""
        cdef int i
        for i in range(self.layout.group_leaves):
            self.copy_source(pointers, i, self.own + self.layout.leaf_place(i), self.streaming.window)
        return 0

    cdef int copy_source(self, LeafPointers pointers, int i, char* place, bint stream) except -1 nogil:
        """Copy the i-th leaf of the caller's model to a place, unless it lies there."""
        cdef Leaf* leaf = &self.layout.leaves[i]
        if pointers.sources[i] == place:
            return 0
        if pointers.sources[i] is NULL and leaf.count > 0:
            with gil:
                pointers.fetch(i)
        wagma_copy(place, pointers.sources[i], leaf.count * self.layout.sections[leaf.section].width, stream)
        return 0

    cdef int pass_on(self, LeafPointers pointers, int first) except -1 nogil:
        """Copy the caller's leaves from the `first` one on into the caller's output: nothing averages them now."""
        # By way of private memory if a target may be another leaf's source.
        cdef bint by_spare = pointers.entangled
        cdef int i
        cdef Leaf* leaf
        if by_spare:
            for i in range(first, pointers.count):
                self.copy_source(pointers, i, self.spare + self.layout.leaf_place(i), False)
        for i in range(first, pointers.count):
            leaf = &self.layout.leaves[i]
            if by_spare:
                wagma_copy(pointers.targets[i], self.spare + self.layout.leaf_place(i),
                           leaf.count * self.layout.sections[leaf.section].width, False)
            else:
                self.copy_source(pointers, i, pointers.targets[i], self.streaming.output)
        return 0

    cdef int restore(self, LeafPointers pointers) except -1 nogil:
        """Copy `own` into the caller's output, leaf by leaf; the leaves that are in no snapshot stay as they are."""
        cdef int i
        cdef Leaf* leaf
        for i in range(self.layout.group_leaves):
            leaf = &self.layout.leaves[i]
            wagma_copy(pointers.targets[i], self.own + self.layout.leaf_place(i),
                       leaf.count * self.layout.sections[leaf.section].width, self.streams(pointers, i))
        return 0

    cdef int restore_mean(self, LeafPointers pointers) noexcept nogil:
        """Write the leaves that are in no snapshot into the caller's output, as they were synchronised last."""
        cdef int i
        cdef Leaf* leaf
        cdef wagma_output output
        output.own = NULL
        output.divisor = self.mean_divisor
        for i in range(self.layout.group_leaves, pointers.count):
            leaf = &self.layout.leaves[i]
            output.out = pointers.targets[i]
            output.stream = self.streams(pointers, i)
            wagma_average(leaf.section % WAGMA_DTYPES, self.sums_of(self.mean_part, leaf.section)
                          + leaf.begin * self.layout.sections[leaf.section].sum_width, leaf.count, &output)
        return 0

    cdef bint streams(self, LeafPointers pointers, int i) noexcept nogil:
        """Return whether writes to the output of the i-th leaf bypass the caches."""
        return self.streaming.in_place if pointers.targets[i] == pointers.sources[i] else self.streaming.output

    cdef int name_newest(self, uint64_t step, int slot) except -1 nogil:
        """Name a written slot in `published` as the newest snapshot, and settle the pins of the one before it."""
        cdef uint64_t found, taken
        cdef int old = self.current_slot
        assert slot < self.layout.slots and pack_published(step, slot) >= pack_published(self.current_step, old)
        # Data before word. Pairs with pin(): a rank that finds this slot named reads all of the snapshot.
        self.window.write_fence()
        self.window.fetch_add(
            self.window.rank, self.layout.published,
            pack_published(step, slot) - pack_published(self.current_step, old), &found)
        self.window.complete()
        taken = (published_pins(found) - self.pins_settled) & mask(PIN_BITS)
        self.pins_settled = published_pins(found)
        self.current_step = step
        self.current_slot = slot
        if taken:
            self.window.fetch_add(self.window.rank, self.layout.retired + 8 * old, taken, &found)
            self.window.complete()
        return 0

    cdef int pin(self, int rank, uint64_t* found) except -1 nogil:
        """Begin to pin the newest snapshot of a rank: *found names it."""
        return self.window.fetch_add(rank, self.layout.published, one_pin(), found)

    cdef int unpin(self, int rank, int slot) except -1 nogil:
        """Begin to give a pin back. The reads it was for must be over (the read fence before a chunk's DONE)."""
        cdef uint64_t minus_one = <uint64_t> 0 - 1
        return self.window.fetch_add(rank, self.layout.retired + 8 * slot, minus_one, &self.ignored)

    # Slots that are lent to the caller.

    def lend(self):
        """Lend a free slot to the caller, and return it; or return -1 if there is none now."""
        cdef int slot
        with nogil:
            slot = self.free_slot(0)
        if slot >= 0:
            self.lent[slot] = True
        return slot

    def take_back(self, int slot):
        """End the loan of a slot to which the caller does not write any more."""
        self.lent[slot] = False

    def is_lent(self, int slot):
        """Return whether a slot is still lent: it is the caller's until its model is published there."""
        return bool(self.lent[slot])

    def address(self, int slot):
        """Return the address of a slot's memory."""
        return <uintptr_t> self.window.own(self.layout.snapshot(slot))

    cdef int lent_slot_of(self, LeafPointers pointers) noexcept nogil:
        """Return the lent slot that holds the caller's model, leaf for leaf, and none of its output; or -1."""
        cdef int slot, i
        cdef char* begin
        cdef bint holds
        for slot in range(self.layout.slots):
            if not self.lent[slot]:
                continue
            begin = self.window.own(self.layout.snapshot(slot))
            holds = self.layout.sums_bytes > 0  # a model without elements is in no slot
            for i in range(self.layout.group_leaves):
                if self.layout.leaves[i].count > 0:
                    holds = (holds and pointers.sources[i] == begin + self.layout.leaf_place(i)
                             and not begin <= pointers.targets[i] < begin + self.layout.snapshot_bytes)
            if holds:
                return slot
        return -1

    # A synchronisation: the MPI library sums result 0 of all ranks into result 1. All ranks have left their earlier
    # steps by then, so nobody reads results.

    def contribute(self, LeafPointers pointers):
        """Write the caller's model into result 0 and into the region, in the type of the sums."""
        with nogil:
            self.widen(pointers, 0, 0)
        self.mean_part, self.mean_divisor = 0, 1

    cdef int widen(self, LeafPointers pointers, int part, int first) except -1 nogil:
        """Write the caller's leaves from the `first` one on into a result and the region, in the type of the sums."""
        cdef int i
        cdef Leaf* leaf
        for i in range(first, pointers.count):
            leaf = &self.layout.leaves[i]
            if pointers.sources[i] is NULL and leaf.count > 0:
                with gil:
                    pointers.fetch(i)
            wagma_sum(leaf.section % WAGMA_DTYPES, self.sums_of(part, leaf.section)
                      + leaf.begin * self.layout.sections[leaf.section].sum_width,
                      <const void* const*> &pointers.sources[i], 1, leaf.count, False, NULL)
        return 0

    def publish_mean(self, uint64_t step):
        """Publish the sums in result 1, divided by the number of ranks, as this rank's model of `step`.

        Those in the region stay there, until they are copied out.
        """
        cdef int dtype, slot
        cdef Section* section
        cdef wagma_output output
        output.own = NULL
        output.divisor = self.window.ranks
        output.stream = self.streaming.window
        with nogil:
            slot = self.free_slot(0)
            if slot < 0:
                with gil:
                    raise RuntimeError(f"synchronize: rank {self.window.rank} finds all its snapshots pinned at "
                                       f"step {step} ({self.pins()}); this is a defect of wagma_rma")
            self.own = self.window.own(self.layout.snapshot(slot))
            for dtype in range(WAGMA_DTYPES):
                section = &self.layout.sections[dtype]
                output.out = self.own + section.snapshot
                wagma_average(dtype, self.sums_of(1, dtype), section.count, &output)
            self.window.wrote(self.layout.snapshot(slot), self.layout.snapshot_bytes)
            self.name_newest(step, slot)
        self.mean_part, self.mean_divisor = 1, self.window.ranks

    cdef char* sums_of(self, int result, int section) noexcept nogil:
        """Return where the sums of a section begin in one of this rank's results, or in that part of the region."""
        cdef int64_t begin = self.layout.result(result) if section < WAGMA_DTYPES else self.layout.region(result)
        return self.window.own(begin) + self.layout.sections[section].result

    def sums(self, int result):
        """Return this rank's sums in a result, and in that part of the region, as memoryviews.

        Returns:
            (float64, float32) of the result, then of the region.
        """
        cdef Layout layout = self.layout
        views = []
        for first, nbytes in ((0, layout.sums_bytes), (WAGMA_DTYPES, layout.region_sums_bytes)):
            doubles = layout.sections[first + 1].result
            begin = <uintptr_t> self.sums_of(result, first)
            for place, size, kind in ((begin, doubles, "d"), (begin + doubles, nbytes - doubles, "f")):
                views.append(PyMemoryView_FromMemory(<char*> <uintptr_t> place, size, PyBUF_WRITE).cast(kind))
        return tuple(views)

    def pins(self):
        """Return how many pins on each slot have not been given back: none when nobody is in a group step."""
        cdef uint64_t found
        cdef int slot
        with nogil:
            self.window.load(self.window.rank, self.layout.published, 1, &found)
            self.window.load(self.window.rank, self.layout.retired, self.layout.slots, self.retired)
            self.window.complete()
        out = [<int64_t> self.retired[slot] for slot in range(self.layout.slots)]
        out[self.current_slot] += <int64_t> ((published_pins(found) - self.pins_settled) & mask(PIN_BITS))
        return out
