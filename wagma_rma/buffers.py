"""The caller's model in the window itself, where a step publishes it without a copy.

Arrays over a slot of the snapshots are lent to the caller. A group step publishes them by naming their slot,
and makes them read-only, since other ranks may read them from then on. Another slot is lent for the average.
For leaves that are in no snapshot the caller gets ordinary arrays, which stay the caller's from step to step.
"""

import ctypes
import gc
from weakref import WeakValueDictionary

import numpy as np

from wagma_rma.model.leaf_pointers import any_begins_in, begin_alike
from wagma_rma.model.structure import Array, Structure
from wagma_rma.protocol.layout import Layout
from wagma_rma.protocol.snapshots import Snapshots


class Buffers:
    """The slots that one averager has lent, and the arrays over them. Local."""

    def __init__(self, snapshots: Snapshots, layout: Layout, structure: Structure) -> None:
        self._snapshots = snapshots
        self._slots = range(layout.slots)
        self._bytes = layout.snapshot_bytes
        self._places = list(zip(structure.shapes, structure.dtypes, layout.offsets(), strict=True))
        self._grouped = [i for i, alone in enumerate(structure.synchronized) if not alone]
        self._alone = [i for i, alone in enumerate(structure.synchronized) if alone]
        self._lent: dict[int, list[Array]] = {}  # by slot: two during a step, at most one between steps
        self._memory: WeakValueDictionary[int, ctypes.Array[ctypes.c_char]] = WeakValueDictionary()
        self.used = False  # something was lent: from then on averages go into lent slots

    def lent(self) -> list[Array] | None:
        """Return the leaves of the lent slot, or None if no slot is lent."""
        return next(iter(self._lent.values()), None)

    def besides(self, leaves: list[Array]) -> list[Array] | None:
        """Return the leaves of a lent slot for the average of a model, or None if there is none.

        - No leaf of the model lies in the lent slot: that slot.
        - All leaves lie in it, so that it is published as it lies: another slot, if one is free.
        - Some leaves lie in it, so that the model must be copied and needs a free slot itself: None.
        """
        self.used = True
        for slot, lent in self._lent.items():
            if not self._any_lies_in(slot, leaves):
                return self._kept(lent, leaves)
            if not begin_alike(*([of[i] for i in self._grouped] for of in (leaves, lent))):
                return None
        return self._kept(self._lend(), leaves)

    def holds_any_of(self, leaves: list[Array]) -> bool:
        """Return whether any of some leaves lies in a lent slot."""
        return any(self._any_lies_in(slot, leaves) for slot in self._lent)

    def settle(self) -> None:
        """Forget slots that have been published, and take back a slot whose average was not made.

        Ctrl-C may have interrupted the last step between any two lines, so this may find the same slots
        again.
        """
        for slot in [slot for slot in self._lent if not self._snapshots.is_lent(slot)]:
            self._forget(slot)
        for slot in list(self._lent)[1:]:
            self._forget(slot)
        for slot in self._slots:
            if slot not in self._lent:
                self._snapshots.take_back(slot)

    def in_use(self) -> bool:
        """Return whether anyone still has arrays in the window, of all that were ever lent."""
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
        lent = [
            np.empty(shape, dtype) if offset < 0 else np.ndarray(shape, dtype, view, offset)
            for shape, dtype, offset in self._places
        ]
        self._lent[slot] = lent
        return lent

    def _kept(self, lent: list[Array] | None, leaves: list[Array]) -> list[Array] | None:
        """Return a lent model with the arrays of its other leaves that the caller has already, if so.

        Args:
            leaves: the caller's; none where a model is lent for the first time.
        """
        if lent and leaves:
            for i in self._alone:
                for model in self._lent.values():
                    if begin_alike([leaves[i]], [model[i]]):
                        lent[i] = model[i]
        return lent

    def _any_lies_in(self, slot: int, leaves: list[Array]) -> bool:
        return any_begins_in(leaves, self._snapshots.address(slot), self._bytes)

    def _forget(self, slot: int) -> None:
        for i in self._grouped:
            self._lent[slot][i].setflags(write=False)
        del self._lent[slot]
