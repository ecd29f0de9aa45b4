"""The steps of one averager on memory of the host, one at a time, on whichever thread JAX calls them."""

import contextlib
import enum
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from jax_bindings import xla_call
from jax_bindings.leaves import Flat, empty
from jax_bindings.packs import packing
from wagma_rma.bindings import (
    Array,
    DeviceLeaves,
    GroupAverager,
    Leaves,
    NamedAverager,
    Sources,
    Structure,
    hear_ctrl_c,
)

NOWHERE = 0  # the address, as source and as target, of a leaf that stays where it is


class Step(enum.Enum):
    """Which step; the value is the name that errors give it."""

    AVERAGE = "average"
    SYNCHRONIZE = "synchronize"
    JOIN = "join"
    COMPLETE = "complete"

    def on_arrays(self, averager: GroupAverager, model: Leaves, out: Leaves) -> Leaves:
        """Perform this step; return `out`."""
        method = {
            Step.AVERAGE: averager.average,
            Step.SYNCHRONIZE: averager.synchronize,
            Step.JOIN: averager.join,
            Step.COMPLETE: averager.complete,
        }
        return method[self](model, out)

    def at_addresses(self, averager: GroupAverager, sources: Sources, targets: list[int]) -> None:
        """Perform this step on memory that is given by address."""
        method = {
            Step.AVERAGE: averager.average_at,
            Step.SYNCHRONIZE: averager.synchronize_at,
            Step.JOIN: averager.join_at,
            Step.COMPLETE: averager.complete_at,
        }
        method[self](sources, targets)


def addresses(arrays: list[Array]) -> list[int]:
    """Return where arrays lie."""
    return [array.ctypes.data for array in arrays]


class CalledBack:
    """What a compiled program calls back: a step of an averager. It does not keep the averager alive."""

    def __init__(self, steps: "HostSteps", step: Step) -> None:
        self._steps = weakref.ref(steps)
        self._step = step

    def __call__(self, values: list[Array]) -> list[Array]:
        steps = self._steps()
        if steps is None:
            raise RuntimeError(xla_call.GONE)
        return steps.called_back(self._step, values)


class HostSteps:
    """The steps of one averager: for eager calls, for host callbacks, and for calls that XLA makes.

    Args:
        structure: of the models, for errors that begin with the name of a step.
        start: a model, for the shapes and dtypes.
        keep_out: whether all callbacks may return their averages in the same memory, because JAX copies them
            before the program goes on. New memory for each would cost as much as the copy.
        synchronized: the paths of the leaves that are averaged at synchronisations only.

    Attributes:
        numbers, difference_number: what compiled programs call the steps by, and what moves a model before
            one (xla_call.register).
        on_arrays: what host callbacks of compiled programs call.
        failure: the newest exception of a compiled step. JAX keeps only its text.
    """

    def __init__(
        self,
        averager: NamedAverager,
        structure: Structure,
        start: Leaves,
        *,
        keep_out: bool,
        synchronized: frozenset[str] = frozenset(),
    ) -> None:
        self._averager = averager
        self._structure = structure
        self._shapes = {path: (leaf.shape, leaf.dtype) for path, leaf in start.items()}
        self._synchronized = synchronized
        self._packing = packing(list(self._shapes.values()))
        self._keep_out = keep_out
        self._kept_out: list[Array] | None = None
        self._turn = threading.Lock()
        self.failure: BaseException | None = None
        # Programs that JAX has cached hold these, so none of these keeps this object alive.
        self.numbers = {
            Step.AVERAGE: xla_call.register(self._average_at),
            Step.SYNCHRONIZE: xla_call.register(self._synchronize_at),
        }
        self.difference_number = xla_call.register(self._difference_at)
        self.on_arrays = {step: CalledBack(self, step) for step in Step}

    def eager(self, step: Step, flat: Flat) -> Leaves:
        """Perform a step outside of any program.

        Returns:
            The averages in new memory. Leaves that this step does not average are missing, and nothing of
            them is copied.
        """
        with self._alone():
            unmoved = self._unmoved(step)
            flat.begin_copies(unmoved)
            by_leaf = flat.on_accelerator or bool(unmoved)
            if by_leaf:
                try:
                    self._structure.leaves(step.value, flat.model)
                except (TypeError, ValueError):
                    by_leaf = False  # the averager raises it, on every rank if this is a synchronisation
            if not by_leaf:
                return step.on_arrays(self._averager, flat.model, self._new_out(frozenset()))
            out = self._new_out(unmoved)
            # From an accelerator a leaf is published while the next is still being copied.
            sources: Any = [
                fetch if path in out else NOWHERE
                for path, fetch in zip(flat.model, flat.fetchers(), strict=True)
            ]
            targets = [out[path].ctypes.data if path in out else NOWHERE for path in flat.model]
            step.at_addresses(self._averager, sources, targets)
            return out

    def _unmoved(self, step: Step) -> frozenset[str]:
        """Return the paths of the leaves that the next step does not average."""
        if step is not Step.AVERAGE or self._averager.synchronizes_next:
            return frozenset()
        return self._synchronized if self._averager.exchanges_next else frozenset(self._shapes)

    def called_back(self, step: Step, values: list[Array]) -> list[Array]:
        """Perform a step for a host callback of a compiled program.

        Args:
            values: the leaves, or the operands that they are packed into.
        """
        sources = [np.ascontiguousarray(value) for value in values]
        with self._turn, self._noting_failure():
            out = self._kept_out
            if out is None or len(out) != len(values):
                out = [empty(value.shape, value.dtype) for value in values]
            if self._keep_out:
                self._kept_out = out
            self._at(step, addresses(sources), addresses(out))
            return out

    def close(self) -> None:
        """Close the averager. Collective."""
        with self._alone():
            self._averager.close()

    def leave(self, error: BaseException) -> None:
        """Tell the other ranks that this one leaves the run by an exception."""
        with self._alone():
            self._averager.__exit__(type(error), error, None)

    def _alone(self) -> contextlib.AbstractContextManager[object]:
        """Return a block in which this thread alone performs steps."""
        # In a fork of the process the lock may stay taken for ever. The averager refuses every call there.
        return self._turn if self._averager.is_here else contextlib.nullcontext()

    def _average_at(self, sources: list[int], targets: list[int], stream: int | None) -> None:
        with self._turn, self._noting_failure():
            self._at(Step.AVERAGE, sources, targets, stream)

    def _synchronize_at(self, sources: list[int], targets: list[int], stream: int | None) -> None:
        with self._turn, self._noting_failure():
            self._at(Step.SYNCHRONIZE, sources, targets, stream)

    def _at(self, step: Step, sources: list[int], targets: list[int], stream: int | None = None) -> None:
        """Perform a step on leaves, or operands that they are packed into, of these addresses.

        Args:
            stream: where the addresses are of a CUDA device: the stream of the program.
        """
        if len(sources) < len(self._shapes):
            sources, targets = map(self._packing.addresses, (sources, targets))
        if stream is None:
            step.at_addresses(self._averager, sources, targets)
            return
        copies = self._averager.cuda_copies()
        leaves = DeviceLeaves(copies, stream, sources, targets, moved=self._averager.overlap)
        step.at_addresses(self._averager, leaves, copies.room)

    def _difference_at(self, sources: list[int], targets: list[int], stream: int | None) -> None:
        """Give a device what the last group step has brought, to be added there: see compiled.Moves.

        Args:
            targets: where a flag goes that tells whether there is anything, and the leaves of the difference.
        """
        with self._turn, self._noting_failure():
            flag, places = targets[0], iter(targets[1:])
            differences = [NOWHERE if path in self._synchronized else next(places) for path in self._shapes]
            nothing = [NOWHERE] * len(differences)
            copies = self._averager.cuda_copies()
            self._averager.give_difference(DeviceLeaves(copies, stream or 0, nothing, differences, flag))

    def _new_out(self, unmoved: frozenset[str]) -> Leaves:
        return Leaves(
            (path, empty(shape, dtype))
            for path, (shape, dtype) in self._shapes.items()
            if path not in unmoved
        )

    @contextlib.contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            with hear_ctrl_c():
                yield
        except BaseException as error:
            self.failure = error
            raise
