"""The caller's memory at a step: where its model lies, and where the average goes."""

import threading
from typing import Any, NamedTuple

import numpy as np

from wagma_rma.accelerators import Accelerators
from wagma_rma.buffers import Buffers
from wagma_rma.model.copies import DeviceLeaves
from wagma_rma.model.foreign import CudaArray
from wagma_rma.model.leaf_pointers import is_plain
from wagma_rma.model.structure import Array, Sources, Structure, Targets

CURE = "; pass a writable array, or out=None for new ones"


class SecondThread(Exception):
    """Another thread uses the averager."""


class Held(NamedTuple):
    """The memory of one step."""

    result: Any
    """What the caller gets: containers around `outputs`."""
    outputs: list[Array]
    """The leaves of the average; none if the caller gave addresses, or if they lie on a device."""
    sources: Sources
    """Plain memory that holds the model, or copies from a device."""
    targets: Targets
    """Plain memory for the average: `outputs` themselves, or what is copied into them after the step."""


class Memory:
    """Finds the memory of each step of one averager. Local.

    Args:
        busy: a lock, held by any thread that uses the averager.
    """

    def __init__(
        self, structure: Structure, buffers: Buffers, accelerators: Accelerators, busy: threading.Lock
    ) -> None:
        self._structure = structure
        self._buffers = buffers
        self._accelerators = accelerators
        self._busy = busy

    def hold(
        self,
        name: str,
        model: Any,
        out: Any,
        together: bool = False,
        local: bool = False,
        start: bool = False,
    ) -> Held:
        """Return the memory of a model and of its output.

        Args:
            name: of the operation, for errors.
            out: as in GroupAverager.average().
            together: whether all ranks average, so that nothing is published before the mean.
            local: whether this rank exchanges nothing, and publishes nothing.
            start: whether the model is the start of a run; without `out` it is only read.

        Raises:
            TypeError, ValueError: `model` or `out` is not like the averager's model, or `out` is read-only.
            CudaError: the leaves lie on a CUDA device, and the driver's library can't be used.
            SecondThread: new arrays would have to be lent while another thread uses the averager.
        """
        leaves = self._structure.leaves(name, model)
        if any(isinstance(leaf, CudaArray) for leaf in leaves):
            return self._hold_on_cuda(name, model, leaves, model if start and out is None else out)
        if out is None:
            outputs = self._outputs(leaves, together, local)
            result = self._structure.rebuild(model, outputs)
        else:
            outputs = leaves if out is model else self._structure.leaves(name, out, "out")
            result = out
            self._structure.check_writable(name, out, outputs, "out", CURE)
            if outputs is not leaves:
                self._structure.check_place(name, leaves, outputs)
        sources = [leaf if is_plain(leaf) else np.array(leaf, order="C") for leaf in leaves]
        targets = [leaf if is_plain(leaf) else np.empty_like(leaf, order="C") for leaf in outputs]
        if self._buffers.used:
            filled = [leaf for leaf, target in zip(outputs, targets, strict=True) if leaf is not target]
            if self._buffers.holds_any_of(filled):
                # These outputs are written when the step is over. By then other ranks may be reading the
                # model that the step has published, so it publishes a copy.
                sources = [np.array(leaf) for leaf in sources]
        return Held(result, outputs, sources, targets)

    def _hold_on_cuda(self, name: str, model: Any, leaves: list[Any], out: Any) -> Held:
        """Return the copies of a step whose leaves lie on a CUDA device; see hold()."""
        result = self._structure.new(name, model) if out is None else out
        outputs: list[Any] = leaves if result is model else self._structure.leaves(name, result, "out")
        self._structure.check_place(name, leaves, outputs)
        self._structure.check_writable(name, result, outputs, "out", CURE)
        streams = {leaf.stream for leaf in (*leaves, *outputs) if leaf.size} or {leaves[0].stream}
        if len(streams) > 1:
            raise ValueError(
                f"{name}: the arrays of model and out are used in {len(streams)} streams of CUDA; "
                "make all of them in one stream, or synchronise with the others and pass them in one"
            )
        copies = self._accelerators.cuda()
        sources, targets = ([leaf.address for leaf in of] for of in (leaves, outputs))
        self._structure.check_apart(name, leaves, outputs)
        return Held(result, [], DeviceLeaves(copies, streams.pop(), sources, targets), copies.room)

    def _outputs(self, leaves: list[Array], together: bool, local: bool) -> list[Array]:
        """Return arrays for an average: lent ones once buffers() has been called, where a slot is free."""
        lent: list[Array] | None = None
        if self._buffers.used and together:
            # The model is not published but summed, so the mean may overwrite the arrays that hold it.
            lent = self._buffers.lent() or self._buffers.besides(leaves)
        elif self._buffers.used:
            if not self._busy.acquire(blocking=False):
                raise SecondThread
            try:
                # What is not published may stay where it is.
                lent = (self._buffers.lent() if local else None) or self._buffers.besides(leaves)
            finally:
                self._busy.release()
        return lent or self._structure.empty()
