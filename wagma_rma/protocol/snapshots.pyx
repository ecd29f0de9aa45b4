"""The models that a rank publishes, and the pins that keep them.

A rank publishes into a slot whose snapshot nobody reads:

1. To read the newest snapshot of a rank, another rank adds one pin to its `published` word; the same addition tells
   step and slot.
2. To unpin is to subtract one from `retired[slot]`.
3. When the owner publishes into another slot it adds to `retired` of the old slot the pins that were added to
   `published` meanwhile. A slot that is not the newest and whose `retired` is zero may be written.

Such a slot may be lent to the caller, as memory for its model. It stays lent until the model is published there, as it
lies.

Where exchanges overlap with computing, what a rank publishes is the model that it comes with, moved by what the group step
before has brought: the *difference* of its average to the model that this rank published then. This move is *pending*
until it is made.
"""

cimport cython

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from wagma_rma.kernels.kernels cimport (WAGMA_DTYPES, wagma_average, wagma_copy, wagma_move, wagma_moved,
                                       wagma_output, wagma_sum)
from wagma_rma.model.copies cimport Copies, DeviceLeaves
from wagma_rma.protocol.layout cimport REGION_MODEL, REGION_TOTALS, Leaf
from wagma_rma.protocol.words cimport PIN_BITS, mask, one_pin, pack_published, published_pins
from wagma_rma.waiting.waiter cimport Wait

from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory

from wagma_rma.kernels.pages import private


@cython.final
cdef class Snapshots:
    """The snapshots of this rank, and pins on those of others. Local; nothing here waits but free_slot().

    Args:
        calls: which free_slot() looks at too.
        overlaps: whether moves may be pending.
    """

    def __cinit__(self, Window window, Layout layout, Calls calls, bint overlaps=False):
        self.calls = calls
        self.window = window
        self.waiter = window.waiter
        self.layout = layout
        self.reserved = -1
        self.streaming = Streaming(layout.model_bytes)
        self.retired = <uint64_t*> calloc(layout.slots, sizeof(uint64_t))
        # Allocated now, since a step that has begun must not fail. Its pages are touched only when a step needs it.
        self.spare = <char*> malloc(layout.private_bytes)
        self.unpublished = <char*> malloc(layout.private_bytes)
        if overlaps:
            self.pages = private(layout.result_bytes)
            self.difference = <char*> <uintptr_t> self.pages.ctypes.data
        self.lent = <char*> calloc(layout.slots, 1)
        if self.retired is NULL or self.lent is NULL or (layout.private_bytes and (
                self.spare is NULL or self.unpublished is NULL)):
            raise MemoryError(f"Snapshots: no memory for private models of {layout.private_bytes} bytes each")
        self.overlaps = overlaps

    def __dealloc__(self):
        free(self.retired)
        free(self.spare)
        free(self.unpublished)
        free(self.lent)

    def prepare(self, LeafPointers pointers):
        """Copy the model at the start of a run into the first snapshot; return it as writable bytes.

        The leaves that are in no snapshot follow, in the type of their sums: (bytes of the snapshot, their bytes).
        """
        cdef Layout layout = self.layout
        self.own = self.window.own(layout.snapshot(self.current_slot))
        self.gather(pointers, False)
        self.mean_part, self.mean_divisor = REGION_MODEL, 1
        self.widen(pointers, REGION_MODEL, layout.group_leaves)
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

        Either way `own` points to the model afterwards; unless this rank has been called to a synchronisation. Then
        nothing is done. Where exchanges overlap, the move that was pending has been made, in the caller's output too
        (unless leaves are entangled: then that is left to restore()).
        """
        cdef int slot = self.lent_slot_of(pointers)
        if slot >= 0:
            self.calls.begin_look()
            self.window.complete()
            self.seconds_waited = 0
        else:
            slot = self.free_slot(patience)
        self.calls.wait(step)
        if self.calls.is_called(step):
            return 0
        if slot >= 0:
            self.lent[slot] = False
        else:
            self.own = self.unpublished
            self.gather(pointers, self.overlaps)
            self.pending = False
            return 0
        self.write(slot, pointers, self.overlaps)
        self.pending = False
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
            self.calls.begin_look()
            self.window.complete()
            # Pairs with unpin(): all ranks that pinned a slot have read it to the end if it is found free.
            for slot in range(self.layout.slots):
                if (slot != self.current_slot and slot != self.reserved and self.retired[slot] == 0
                        and not self.lent[slot]):
                    return slot
            if now < 0:
                wait = self.waiter.begin(0)
                now = wait.since
                wait.until = now + patience
            if now >= wait.until or self.waiter.interrupted or self.calls.is_called(self.current_step + 1):
                return -1
            self.waiter.pause(&wait)
            now = self.waiter.now()
            self.seconds_waited = now - wait.since

    cdef int write(self, int slot, LeafPointers pointers, bint outputs) except -1 nogil:
        """Copy the caller's model, moved by what is pending, into a free slot; with `outputs` as gather() does."""
        self.own = self.window.own(self.layout.snapshot(slot))
        self.gather(pointers, outputs)
        self.window.wrote(self.layout.snapshot(slot), self.layout.snapshot_bytes)
        return 0

    cdef int gather(self, LeafPointers pointers, bint outputs) except -1 nogil:
        """Copy what a snapshot holds of the caller's model, moved by what is pending, into `own`.

        Args:
            outputs: write it into the caller's output too, unless leaves are entangled.
        """
        cdef int i
        cdef char* place
        cdef bint moves = self.moves(pointers)
        outputs = outputs and not pointers.entangled
        if pointers.copies is not None:
            self.bring(pointers, 0, self.layout.group_leaves, self.own)
        if outputs:
            # All, before any output is written: to fetch a leaf may fail.
            for i in range(self.layout.group_leaves):
                self.fetch_source(pointers, i)
        for i in range(self.layout.group_leaves):
            place = self.own + self.layout.leaf_place(i)
            if moves:
                self.fetch_source(pointers, i)
                self.move(pointers, i, place, outputs and pointers.copies is None)
            else:
                self.copy_source(pointers, i, place, self.streaming.window)
                if outputs and pointers.copies is None:
                    self.copy_source(pointers, i, pointers.targets[i], self.streams(pointers, i))
            if outputs and pointers.copies is not None:
                self.answer(pointers, i, place)
        return 0

    cdef int answer(self, LeafPointers pointers, int i, const char* place) except -1 nogil:
        """Have the i-th leaf of the caller's model, which has been moved at a place if a move was pending, in its output."""
        if self.moves(pointers):
            return self.give(pointers, i, 0, place, self.layout.leaves[i].count)
        return pointers.copies.pass_on(i, self.leaf_bytes(i))

    cdef int bring(self, LeafPointers pointers, int first, int last, char* base) except -1 nogil:
        """Copy some leaves of the caller's model from their device to this host; they are sources there.

        Args:
            base: of a snapshot or a private model; NULL: to the targets.
        """
        cdef int i
        for i in range(first, last):
            pointers.sources[i] = pointers.targets[i] if base is NULL else base + self.layout.leaf_place(i)
            pointers.copies.begin_down(i, <char*> pointers.sources[i], self.leaf_bytes(i))
        return pointers.copies.complete_down()

    cdef int give(self, LeafPointers pointers, int i, int64_t begin, const char* place, int64_t count) except -1 nogil:
        """Have a part of the i-th leaf's output copied to its device, if it is on one.

        Args:
            begin, count: elements.
        """
        cdef int64_t width = self.layout.sections[self.layout.leaves[i].section].width
        if pointers.copies is not None:
            pointers.copies.begin_up(i, begin * width, place, count * width)
        return 0

    cdef void move(self, LeafPointers pointers, int i, char* place, bint outputs) noexcept nogil:
        """Write the i-th leaf of the caller's model, moved by what is pending, to a place, and into the output too."""
        cdef wagma_moved moved
        moved.to, moved.also = place, pointers.targets[i] if outputs else NULL
        moved.model, moved.difference = pointers.sources[i], self.difference_of(i)
        moved.stream = self.streaming.window and place != pointers.sources[i]
        moved.stream_also = self.streams(pointers, i)
        wagma_move(self.layout.leaves[i].section, &moved, self.layout.leaves[i].count)

    cdef char* difference_of(self, int i) noexcept nogil:
        """Return where the difference of the i-th leaf lies."""
        cdef Leaf* leaf = &self.layout.leaves[i]
        return self.difference + self.layout.sections[leaf.section].result + leaf.begin * self.layout.sections[leaf.section].sum_width

    def give_difference(self, DeviceLeaves leaves, bint moves):
        """Have the difference that is pending copied to its device, for the model of the next step that says it is moved.

        It stays pending until that step has published: a step that fails before may be done again, and so may this.

        Args:
            leaves: their targets are leaves of differences, in the type of sums, and a flag that tells whether there is
                one.
            moves: whether what is pending is wanted.
        """
        cdef Copies copies = leaves.copies
        cdef int i
        self.given = moves and self.pending
        copies.begin(leaves)
        try:
            if self.given:
                for i in range(self.layout.group_leaves):
                    copies.begin_up(i, 0, self.difference_of(i), self.layout.leaves[i].count
                                    * self.layout.sections[self.layout.leaves[i].section].sum_width)
            copies.begin_flag(self.given)
        finally:
            copies.end()

    cdef bint moves(self, LeafPointers pointers) noexcept nogil:
        """Return whether the caller's model is still to be moved by what is pending."""
        return self.pending and not (self.given and pointers.moved)

    cdef int make_move(self, LeafPointers pointers) except -1 nogil:
        """Write the caller's model, moved by what is pending, into the caller's output; then nothing is pending."""
        cdef int i
        cdef bint moves = self.moves(pointers)
        cdef char* place
        if pointers.copies is not None:
            self.bring(pointers, 0, pointers.count, NULL)
            for i in range(pointers.count):
                if moves and i < self.layout.group_leaves:
                    self.move(pointers, i, pointers.targets[i], False)
                self.give(pointers, i, 0, pointers.targets[i], self.layout.leaves[i].count)
            self.pending = False
            return 0
        for i in range(pointers.count):
            self.fetch_source(pointers, i)
        for i in range(pointers.count):
            # By way of private memory if a target may be another leaf's source.
            place = self.spare + self.layout.leaf_place(i) if pointers.entangled else pointers.targets[i]
            if moves and i < self.layout.group_leaves:
                self.move(pointers, i, place, False)
            else:
                self.copy_source(pointers, i, place, False)
        if pointers.entangled:
            for i in range(pointers.count):
                wagma_copy(pointers.targets[i], self.spare + self.layout.leaf_place(i), self.leaf_bytes(i), False)
        self.pending = False
        return 0

    cdef int copy_source(self, LeafPointers pointers, int i, char* place, bint stream) except -1 nogil:
        """Copy the i-th leaf of the caller's model to a place, unless it lies there."""
        if pointers.sources[i] == place:
            return 0
        self.fetch_source(pointers, i)
        wagma_copy(place, pointers.sources[i], self.leaf_bytes(i), stream)
        return 0

    cdef int fetch_source(self, LeafPointers pointers, int i) except -1 nogil:
        """Have the i-th leaf of the caller's model in memory, if it is elsewhere."""
        if pointers.sources[i] is NULL and self.layout.leaves[i].count > 0:
            with gil:
                pointers.fetch(i)
        return 0

    cdef int64_t leaf_bytes(self, int i) noexcept nogil:
        """Return the bytes of the i-th leaf."""
        return self.layout.leaves[i].count * self.layout.sections[self.layout.leaves[i].section].width

    cdef int pass_on(self, LeafPointers pointers, int first) except -1 nogil:
        """Copy the caller's leaves from the `first` one on into the caller's output: nothing averages them now."""
        # By way of private memory if a target may be another leaf's source.
        cdef bint by_spare = pointers.entangled
        cdef int i
        if pointers.copies is not None:
            for i in range(first, pointers.count):
                pointers.copies.pass_on(i, self.leaf_bytes(i))
            return 0
        if by_spare:
            for i in range(first, pointers.count):
                self.copy_source(pointers, i, self.spare + self.layout.leaf_place(i), False)
        for i in range(first, pointers.count):
            if by_spare:
                wagma_copy(pointers.targets[i], self.spare + self.layout.leaf_place(i), self.leaf_bytes(i), False)
            else:
                self.copy_source(pointers, i, pointers.targets[i], self.streaming.output)
        return 0

    cdef int restore(self, LeafPointers pointers) except -1 nogil:
        """Copy `own` into the caller's output, leaf by leaf; the leaves that are in no snapshot stay as they are."""
        cdef int i
        for i in range(self.layout.group_leaves):
            if pointers.copies is not None:
                self.give(pointers, i, 0, self.own + self.layout.leaf_place(i), self.layout.leaves[i].count)
                continue
            wagma_copy(pointers.targets[i], self.own + self.layout.leaf_place(i), self.leaf_bytes(i),
                       self.streams(pointers, i))
        return 0

    cdef int restore_mean(self, LeafPointers pointers) except -1 nogil:
        """Write the leaves that are in no snapshot into the caller's output, as they were synchronised last."""
        cdef int i
        cdef Leaf* leaf
        cdef wagma_output output
        output.own = output.before = NULL
        output.divisor = self.mean_divisor
        for i in range(self.layout.group_leaves, pointers.count):
            leaf = &self.layout.leaves[i]
            output.out = pointers.targets[i]
            output.stream = self.streams(pointers, i)
            wagma_average(leaf.section % WAGMA_DTYPES, self.sums_of(self.mean_part, leaf.section)
                          + leaf.begin * self.layout.sections[leaf.section].sum_width, leaf.count, &output)
            self.give(pointers, i, 0, pointers.targets[i], leaf.count)
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

    def bulk(self):
        """Return what steps copy models to and from, but for private ones: (address, bytes) of each piece of memory.

        These are this rank's snapshots, results and region, and the difference, where exchanges overlap.
        """
        pieces = [(<uintptr_t> self.window.own(self.layout.snapshot(0)),
                   self.layout.first_message - self.layout.first_snapshot)]
        if self.overlaps:
            pieces.append((<uintptr_t> self.difference, self.layout.result_bytes))
        return [piece for piece in pieces if piece[1]]

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

    # A synchronisation: this rank's model lies in a slot that is reserved until the mean is published.

    def has_free_slot(self):
        """Return whether a slot is free for a synchronisation."""
        cdef int slot
        with nogil:
            slot = self.free_slot(0)
        return slot >= 0

    cdef int reserve(self, LeafPointers pointers) except -1 nogil:
        """Copy the caller's model into a free slot, and keep the slot; return which."""
        cdef int slot
        self.reserved = -1
        slot = self.free_slot(0)
        if slot < 0:
            with gil:
                raise RuntimeError(f"synchronize: rank {self.window.rank} finds all its snapshots pinned "
                                   f"({self.pins()}); this is a defect of wagma_rma")
        self.write(slot, pointers, False)
        self.widen(pointers, REGION_MODEL, self.layout.group_leaves)
        self.window.wrote(self.layout.region(REGION_MODEL), self.layout.region_bytes)
        self.mean_part, self.mean_divisor = REGION_MODEL, 1
        self.reserved = slot
        return slot

    cdef int widen(self, LeafPointers pointers, int part, int first) except -1 nogil:
        """Write the caller's leaves from the `first` one on into a part of the region, in the type of the sums."""
        cdef int i
        cdef Leaf* leaf
        if pointers.copies is not None and first < pointers.count:
            self.bring(pointers, first, pointers.count, NULL)
        for i in range(first, pointers.count):
            leaf = &self.layout.leaves[i]
            self.fetch_source(pointers, i)
            wagma_sum(leaf.section % WAGMA_DTYPES, self.sums_of(part, leaf.section)
                      + leaf.begin * self.layout.sections[leaf.section].sum_width,
                      <const void* const*> &pointers.sources[i], 1, leaf.count, False, NULL)
        return 0

    cdef char* sums_of(self, int part, int section) noexcept nogil:
        """Return where a section begins in a part of this rank's region."""
        return self.window.own(self.layout.region(part)) + self.layout.sections[section].result

    cdef int begin_mean(self, bint others_read) noexcept nogil:
        """Have `own` point to the slot for the mean.

        Args:
            others_read: other ranks may still read what lies in the reserved slot. The mean then overwrites the newest
                snapshot: all have passed the first barrier, so there are no pins on it, and none will come before the
                mean is published.
        """
        self.mean = self.current_slot if others_read else self.reserved
        self.own = self.window.own(self.layout.snapshot(self.mean))
        return 0

    cdef int publish_mean(self, uint64_t step) except -1 nogil:
        """Publish the mean as this rank's model of `step`. Totals of leaves that are in no snapshot are in the region."""
        self.mean_part, self.mean_divisor = REGION_TOTALS, self.window.ranks
        self.window.wrote(self.layout.snapshot(self.mean), self.layout.snapshot_bytes)
        return self.name_newest(step, self.mean)

    def free_reserved(self):
        """Free the reserved slot: the synchronisation is over, or was refused, so no rank reads the slot any more."""
        self.reserved = -1

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
