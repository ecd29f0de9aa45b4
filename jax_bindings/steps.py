"""The steps of one averager on memory of the host, one at a time, on whichever thread JAX calls them."""

import contextlib
import enum
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from jax_bindings import xla_call
from jax_bindings.leaves import Flat, empty
from jax_bindings.packs import packing
from wagma_rma.bindings import Array, GroupAverager, Leaves, NamedAverager, Sources, Structure, hear_ctrl_c


class Step(enum.Enum):
    """Which step; the value is the name that errors give it."""

    AVERAGE = "average"
    SYNCHRONIZE = "synchronize"
    JOIN = "join"

    def on_arrays(self, averager: GroupAverager, model: Leaves, out: Leaves) -> Leaves:
        """Perform this step; return `out`."""
        method = {
            Step.AVERAGE: averager.average,
            Step.SYNCHRONIZE: averager.synchronize,
            Step.JOIN: averager.join,
        }
        return method[self](model, out)

    def at_addresses(self, averager: GroupAverager, sources: Sources, targets: list[int]) -> None:
        """Perform this step on memory that is given by address."""
        method = {
            Step.AVERAGE: averager.average_at,
            Step.SYNCHRONIZE: averager.synchronize_at,
            Step.JOIN: averager.join_at,
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

    Attributes:
        numbers: what compiled programs call the steps by (xla_call.register).
        on_arrays: what host callbacks of compiled programs call.
        failure: the newest exception of a compiled step. JAX keeps only its text.
    """

    def __init__(
        self, averager: NamedAverager, structure: Structure, start: Leaves, *, keep_out: bool
    ) -> None:
        self._averager = averager
        self._structure = structure
        self._shapes = {path: (leaf.shape, leaf.dtype) for path, leaf in start.items()}
        self._nowhere = [0] * len(start)  # addresses of leaves that stay where they are
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
        self.on_arrays = {step: CalledBack(self, step) for step in Step}

    def eager(self, step: Step, flat: Flat) -> Leaves | None:
        """Perform a step outside of any program.

        Returns:
            The average in new memory, or None at a LOCAL step.
        """
        with self._alone():
            if step is Step.AVERAGE and not self._averager.exchanges_next:
                self._structure.leaves(step.value, flat.model)
                self._averager.average_at(self._nowhere, self._nowhere)
                return None
            return self._exchange(step, flat)

    def _exchange(self, step: Step, flat: Flat) -> Leaves:
        """Perform an eager step; return the average in new memory."""
        flat.begin_copies()
        out = self._new_out()
        by_leaf = flat.on_accelerator
        if by_leaf:
            try:
                self._structure.leaves(step.value, flat.model)
            except (TypeError, ValueError):
                by_leaf = False  # the averager raises it, on every rank if this is a synchronisation
        if not by_leaf:
            return step.on_arrays(self._averager, flat.model, out)
        # A leaf is published while the next is still being copied from the device.
        sources: list[Callable[[], Array]] = [partial(np.ascontiguousarray, leaf) for leaf in flat.selected]
        step.at_addresses(self._averager, sources, addresses(list(out.values())))
        return out

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

    def _average_at(self, sources: list[int], targets: list[int]) -> None:
        with self._turn, self._noting_failure():
            self._at(Step.AVERAGE, sources, targets)

    def _synchronize_at(self, sources: list[int], targets: list[int]) -> None:
        with self._turn, self._noting_failure():
            self._at(Step.SYNCHRONIZE, sources, targets)

    def _at(self, step: Step, sources: list[int], targets: list[int]) -> None:
        """Perform a step on leaves, or operands that they are packed into, of these addresses."""
        if len(sources) < len(self._shapes):
            sources, targets = map(self._packing.addresses, (sources, targets))
        step.at_addresses(self._averager, sources, targets)

    def _new_out(self) -> Leaves:
        return Leaves((path, empty(shape, dtype)) for path, (shape, dtype) in self._shapes.items())

    @contextlib.contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            with hear_ctrl_c():
                yield
        except BaseException as error:
            self.failure = error
            raise
