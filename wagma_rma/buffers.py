"""The caller's model in the window itself, where it is published as it lies, without a copy.

Arrays over a slot of the snapshots are lent to the caller. A group step publishes them by naming their slot,
makes them read-only, since others may be reading them from then on, and lends another slot for the average.
"""

import ctypes
import gc
from weakref import WeakValueDictionary

import numpy as np

from wagma_rma.protocol.layout import Layout
from wagma_rma.model.structure import Array, Structure
from wagma_rma.model.leaf_pointers import any_begins_in, begin_alike
from wagma_rma.protocol.snapshots import Snapshots


class Buffers:
    """The slots that one averager has lent. Local."""

    def __init__(self, snapshots: Snapshots, layout: Layout, structure: Structure) -> None:
        self._snapshots = snapshots
        self._slots = range(layout.slots)
        self._bytes = layout.snapshot_bytes
        self._places = list(zip(structure.shapes, structure.dtypes, layout.offsets(), strict=True))
        self._lent: dict[int, list[Array]] = {}  # by slot; two while a step is made, else one at most
        self._memory: WeakValueDictionary[int, ctypes.Array[ctypes.c_char]] = WeakValueDictionary()
        self.used = False  # from the first loan on, averages go into lent slots

    def lent(self) -> list[Array] | None:
        """Return the leaves of the slot that is lent, if one is."""
        return next(iter(self._lent.values()), None)

    def besides(self, leaves: list[Array]) -> list[Array] | None:
        """Return the leaves of a lent slot for the average of a model; None if no slot is free.

        A model that lies in a lent slot is published there, so another is lent. One of which only a part lies
        there is to be copied, and must find a free slot: none is lent.
        """
        self.used = True
        for slot, lent in self._lent.items():
            if not self._any_lies_in(slot, leaves):
                return lent
            if not begin_alike(leaves, lent):
                return None
        return self._lend()

    def holds_any_of(self, leaves: list[Array]) -> bool:
        """Say whether any of some leaves lies in a lent slot."""
        return any(self._any_lies_in(slot, leaves) for slot in self._lent)

    def settle(self) -> None:
        """Take note of what has been published, and take back a slot for an average that was not made.

        Ctrl-C may have come between any two lines of the step before: what is done here may be done again.
        """
        for slot in [slot for slot in self._lent if not self._snapshots.is_lent(slot)]:
            self._forget(slot)
        for slot in list(self._lent)[1:]:
            self._forget(slot)
        for slot in self._slots:
            if slot not in self._lent:
                self._snapshots.take_back(slot)

    def in_use(self) -> bool:
        """Say whether anyone still has arrays in the window, of those that were ever lent."""
        self._lent.clear()
        if self._memory:
            gc.collect()  # a traceback is a cycle, and may be all that keeps them
        return bool(self._memory)

    def _lend(self) -> list[Array] | None:
        slot = self._snapshots.lend()
        if slot < 0:
            return None
        memory = self._memory.get(slot)
        if memory is None:
            memory = (ctypes.c_char * self._bytes).from_address(self._snapshots.address(slot))
            self._memory[slot] = memory
        view = memoryview(memory)
        lent = [np.ndarray(shape, dtype, view, offset) for shape, dtype, offset in self._places]
        self._lent[slot] = lent
        return lent

    def _any_lies_in(self, slot: int, leaves: list[Array]) -> bool:
        return any_begins_in(leaves, self._snapshots.address(slot), self._bytes)

    def _forget(self, slot: int) -> None:
        for leaf in self._lent[slot]:
            leaf.setflags(write=False)
        del self._lent[slot]
