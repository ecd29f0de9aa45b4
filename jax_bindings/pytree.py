"""Average pytrees of arrays: the numpy averager, called eagerly or from inside jit."""

from collections.abc import Callable
from typing import Literal, NoReturn, Self, TypeVar, Unpack

import jax
import jax.numpy as jnp
from mpi4py import MPI

from jax_bindings import compiled
from jax_bindings.leaves import (
    Flat,
    PyTree,
    Select,
    check_leaves,
    copied,
    find_synchronized,
    find_unselected,
    flatten,
    is_on_several_devices,
    platforms,
)
from jax_bindings.primitive import is_tracing
from jax_bindings.steps import HostSteps, Step
from wagma_rma.bindings import (
    AveragerOptions,
    Facts,
    NamedAverager,
    RankStatus,
    RankTable,
    Report,
    Statistics,
    Structure,
    agree,
    check_mpi,
)

Params = TypeVar("Params")

NAME = "PytreeAverager"  # in errors


class PytreeAverager:
    """Average a pytree of arrays over small, changing groups of ranks, in or out of jit.

    `params = averager(params)` performs one step; wagma_rma.GroupAverager says what a step is. In a compiled
    function it performs one step each time that the function runs, and one in each iteration of a lax loop.
    Eager calls and compiled ones count the same steps.

    The order of steps is that of the program, for the steps of all averagers together: through nested
    functions, branches and loops, and from one compiled function that a thread calls to the next. JAX neither
    drops nor repeats a step. Where it can't promise that, as in jax.checkpoint, it raises an error about
    effects.

    `step`, `report`, `statistics` and state_dict() first wait for the compiled steps that the same thread has
    called. The wait lasts as long as these steps wait for other ranks. In another thread, or in a callback of
    a compiled function, they don't wait, and tell of the steps that have been done so far.

    Args:
        comm: the ranks, an mpi4py intracommunicator, on one host or many. It is duplicated.
        params: any pytree of jax.Arrays and numpy arrays of float32, float64, float16 or bfloat16: an example
            of what the averager will be called with, and the start. Unlike GroupAverager's model it is not
            written to. All leaves are averaged, unless `select` says otherwise. A leaf on several devices of
            this process, replicated or sharded, is averaged as a whole, once, and returned on the same
            devices.
        select: which leaves are averaged: a function of a leaf's path (a tuple of keys, as
            jax.tree_util.tree_map_with_path gives it) and the leaf, or a pytree of bools like `params`, in
            which one bool may stand for a whole subtree. The function is called only here. The other leaves
            may be anything, such as integers or random keys, or be missing; a step returns them unchanged.
            None: all are averaged.
        select_synchronized: which of these are averaged at synchronisations only, such as an optimizer's
            moments: a choice like `select`. At other steps they cost nothing, and come back as they are.
            None: no leaf.
        backend: how a compiled function calls the averager. "ffi": XLA passes its own buffers, which are
            averaged in place, on one CPU device; on one CUDA device they are copied straight from and to the
            window, eagerly too. "callback": an ordered callback to the host, which copies them; on any
            devices. "auto": "ffi" on one CPU device, else "callback".
        options: group_size, sync_period, group_period, quorum, patience, sync_quorum, overlap, grouping,
            broadcast, start_step, timeout, topology, window, progress, trace: as of GroupAverager. With a
            sync_quorum a step may be several steps further than the one before: loop `while averager.step <
            steps` around the compiled function. A lax.scan or fori_loop of more than one step has a fixed
            number of calls, so ranks come to its end at different steps; a lax.while_loop may read
            averager.step by an ordered io_callback.

    Attributes:
        params: the common start, rank 0's values (with broadcast=False: this rank's), as jax.Arrays;
            leaves that are not selected, unchanged.
        in_groups, synchronized: the paths, as jax.tree_util.keystr writes them, of the leaves that groups
            average, and of those that are averaged at synchronisations only.
        backend: "ffi" or "callback": what compiled functions use (on several devices always the latter).

    Raises (on every rank): as GroupAverager. Messages name leaves as jax.tree_util.keystr does.

    Making an averager is collective, and so is close(). As a context manager it closes itself at the end of
    its block; and where a step in a compiled function failed, the block raises the averager's own error
    instead of JAX's.

    Example, on each of two ranks:
        >>> import jax.numpy as jnp
        >>> comm = MPI.COMM_WORLD
        >>> params = {"w": jnp.zeros(3) + comm.rank}
        >>> with PytreeAverager(comm, params, group_size=2, quorum=2, broadcast=False) as averager:
        ...     step = jax.jit(lambda params: averager(jax.tree.map(lambda leaf: 2 * leaf, params)))
        ...     params = jax.block_until_ready(step(params))
        >>> params
        {'w': Array([1., 1., 1.], dtype=float32)}
    """

    params: PyTree
    in_groups: frozenset[str]
    synchronized: frozenset[str]
    backend: Literal["ffi", "callback"]

    def __init__(
        self,
        comm: MPI.Intracomm,
        params: PyTree,
        *,
        select: Select = None,
        select_synchronized: Select = None,
        backend: compiled.Backend = "auto",
        **options: Unpack[AveragerOptions],
    ) -> None:
        check_mpi(NAME, comm)
        found: Facts | Exception = {}
        try:
            self._unselected = find_unselected(params, select)
            flat = flatten(NAME, params, self._unselected)
            self.synchronized = find_synchronized(params, select_synchronized) & flat.model.keys()
            if not flat.model:
                raise ValueError(f"{NAME}: no leaf of params is to be averaged; see select")
            if flat.traced:
                raise TypeError(f"{NAME}: made in a function that is being compiled; make it outside of jit")
            check_leaves(NAME, flat.model)
            self._backend = compiled.choose_backend(backend, flat.selected)
            # Rank 0's values are written into the model, and views of jax.Arrays are read-only.
            start = copied(flat)
        except Exception as error:
            found = error
        agree(comm, NAME, found)
        self._averager = NamedAverager(
            NAME,
            comm,
            start,
            select_synchronized=(lambda path, _: path in self.synchronized) if self.synchronized else None,
            **options,
        )
        self.in_groups = frozenset(start) - self.synchronized
        self._structure = Structure(NAME, start)
        self._shardings = {
            path: leaf.sharding
            for path, leaf in zip(start, flat.selected, strict=True)
            if is_on_several_devices(leaf)
        }
        self._on_cpu = platforms(flat.selected) == {"cpu"}
        self._steps = HostSteps(
            self._averager,
            self._structure,
            start,
            keep_out=self._on_cpu,
            synchronized=self.synchronized,
        )
        self.backend = "callback" if self._backend == "callback" else "ffi"
        self._on_cuda = self.backend == "ffi" and not self._on_cpu
        in_groups = tuple(path in self.in_groups for path in start)
        moves = compiled.Moves(self._steps.difference_number, in_groups)
        self._moves = moves if self._on_cuda and self._averager.overlap else None
        self._programs = {
            step: compiled.program(number, self._moves) for step, number in self._steps.numbers.items()
        }
        self.params = flat.placed(start)

    def __call__(self, params: Params) -> Params:
        """Perform one step: average with this step's group, or with all ranks at a multiple of sync_period.

        At a step that is a multiple neither of group_period nor of sync_period params come back as they are.

        Args:
            params: of the structure, shapes and dtypes that the averager was made with.

        Returns:
            The average, in the same structure, as jax.Arrays.

        Raises:
            TypeError, ValueError: `params` is not like the params the averager was made with. The step does
                not count. At an eager synchronisation every rank raises it; inside jit it is raised when
                tracing, by this rank alone.
            SynchronizationTimeout, RuntimeError: as GroupAverager.average. In a compiled function whatever
                the step raises, KeyboardInterrupt too, arrives as an error of JAX (JaxRuntimeError or
                ValueError) whose message holds its type and its text. A block `with averager:` raises the
                original exception in its place.

        Collective and blocking at a multiple of sync_period.
        """
        return self._step(Step.AVERAGE, params)

    def synchronize(self, params: Params) -> Params:
        """Perform one step that gives every rank the mean of all params, the same bits everywhere.

        Args, Returns, Raises: as a call.

        Collective, blocking: every rank must call it at the same step.
        """
        return self._step(Step.SYNCHRONIZE, params)

    def complete(self, params: Params) -> Params:
        """Return params with the average that is still to come, with overlap; see GroupAverager.complete().

        Args, Returns, Raises: as a call, outside of jit. Local.
        """
        return self._step(Step.COMPLETE, params)

    def join(self, params: Params) -> Params:
        """Take part in the synchronisations of ranks that still have steps to do; see GroupAverager.join().

        Args, Returns, Raises: as a call, outside of jit.

        Collective, blocking: every rank must call it, each after its last step.
        """
        return self._step(Step.JOIN, params)

    def _step(self, step: Step, params: Params) -> Params:
        flat = flatten(step.value, params, self._unselected)
        # Params that a function closes over are no values of its program.
        if not flat.traced and not is_tracing():
            # Compiled steps that were called before may still be running in other threads.
            succeeded = self._averager.is_here and compiled.await_steps()
            if self._on_cuda and succeeded and step in self._steps.numbers and self._fits(flat):
                return self._on_device(step, flat)  # type: ignore[no-any-return]
            return flat.placed(self._steps.eager(step, flat))  # type: ignore[no-any-return]
        if step in (Step.JOIN, Step.COMPLETE):
            name = step.value
            raise TypeError(
                f"{name}: called inside a function that is being compiled; call it outside of jit"
            )
        compiled.check_where()
        self._structure.leaves(step.value, flat.model)
        return flat.rebuilt(self._traced(step, flat))  # type: ignore[no-any-return]

    def _fits(self, flat: Flat) -> bool:
        """Return whether params are like the averager's; if not, an eager step of the host raises it."""
        try:
            self._structure.leaves(NAME, flat.model)
        except (TypeError, ValueError):
            return False
        return True

    def _on_device(self, step: Step, flat: Flat) -> PyTree:
        """Perform an eager step on params that lie on a CUDA device: by a program of its own."""
        try:
            return flat.rebuilt(jax.block_until_ready(self._programs[step](flat.selected)))
        except Exception as error:
            raise self._own_error(error) from None

    def _own_error(self, error: BaseException) -> BaseException:
        """Return the averager's own exception where JAX's has its text, all that JAX keeps; else JAX's."""
        failure, self._steps.failure = self._steps.failure, None
        is_its_text = failure is not None and f"{type(failure).__name__}: {failure}".strip() in str(error)
        return failure if failure is not None and is_its_text else error

    def _traced(self, step: Step, flat: Flat) -> list[jax.Array]:
        """Put a step into the program that is being traced."""
        leaves = [
            leaf if isinstance(leaf, jax.Array) else jnp.asarray(array)
            for leaf, array in zip(flat.selected, flat.model.values(), strict=True)
        ]
        on_one_device = self._backend == "ffi" or not any(map(is_on_several_devices, leaves))
        if self._backend != "callback" and on_one_device:
            return compiled.call(self._steps.numbers[step], leaves, self._moves)
        averages = compiled.call_back(self._steps.on_arrays[step], leaves, on_cpu=self._on_cpu)
        return [
            compiled.laid_out_like(leaf, self._shardings.get(path), average)
            for path, leaf, average in zip(flat.model, leaves, averages, strict=True)
        ]

    @property
    def step(self) -> int:
        """The last step that this rank has done."""
        self._await(compiled.await_steps)
        return self._averager.step

    @property
    def timeout(self) -> float | None:
        """See GroupAverager.timeout."""
        return self._averager.timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._averager.timeout = seconds

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint needs besides params; see GroupAverager.state_dict()."""
        self._await(compiled.await_steps)
        return self._averager.state_dict()

    @property
    def report(self) -> Report:
        """The last step of this rank; at first, the start."""
        self._await(compiled.await_steps)
        return self._averager.report

    @property
    def statistics(self) -> Statistics:
        """Sums over the steps that this rank has done."""
        self._await(compiled.await_steps)
        return self._averager.statistics

    def ranks(self, timeout: float = 1.0) -> RankTable:
        """Return what every rank does now; see GroupAverager.ranks(). Does not wait for compiled steps."""
        return self._averager.ranks(timeout)

    @property
    def status(self) -> RankStatus:
        """See GroupAverager.status."""
        return self._averager.status

    @property
    def group_size(self) -> int:
        """See GroupAverager.group_size."""
        return self._averager.group_size

    @property
    def sync_period(self) -> int:
        """See GroupAverager.sync_period."""
        return self._averager.sync_period

    @property
    def group_period(self) -> int:
        """See GroupAverager.group_period."""
        return self._averager.group_period

    @property
    def quorum(self) -> int:
        """See GroupAverager.quorum."""
        return self._averager.quorum

    @property
    def sync_quorum(self) -> int:
        """See GroupAverager.sync_quorum."""
        return self._averager.sync_quorum

    @property
    def overlap(self) -> bool:
        """See GroupAverager.overlap."""
        return self._averager.overlap

    @property
    def patience(self) -> float | Literal["auto"]:
        """See GroupAverager.patience."""
        return self._averager.patience

    @property
    def window(self) -> Literal["shared", "remote"]:
        """See GroupAverager.window."""
        return self._averager.window

    @property
    def progress(self) -> Literal["thread", "none"]:
        """See GroupAverager.progress."""
        return self._averager.progress

    @property
    def hosts(self) -> tuple[int, ...]:
        """See GroupAverager.hosts."""
        return self._averager.hosts

    @property
    def bytes(self) -> int:
        """See GroupAverager.bytes."""
        return self._averager.bytes

    def __repr__(self) -> str:
        return f"{repr(self._averager).removesuffix('>')}, backend={self.backend!r}>"

    def __reduce__(self) -> NoReturn:
        self._averager.__reduce__()

    def close(self) -> None:
        """Wait for compiled steps, then free the windows. Collective, as GroupAverager.close()."""
        self._await(compiled.await_programs)
        self._steps.close()

    def _await(self, steps: Callable[[], object]) -> None:
        """Wait for compiled steps, which a fork of this process does not have."""
        if self._averager.is_here:
            steps()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if error is None:
            self.close()
            return
        # The others may never come to close(): see GroupAverager.
        self._await(compiled.await_programs)
        failure = self._own_error(error)
        self._steps.leave(failure)
        if failure is not error:
            raise failure from error
