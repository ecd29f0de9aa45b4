"""The numpy API: average the models of small, changing groups of ranks, and all of them now and then."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeVar

import numpy as np
from mpi4py import MPI

from wagma_rma.mpi import hosts
from wagma_rma.mpi.agreement import Facts, agree
from wagma_rma.buffers import Buffers
from wagma_rma.kernels.floats import DefaultFloats
from wagma_rma.groups.grouping import Grouping
from wagma_rma.waiting.interrupts import Interrupts
from wagma_rma.model.structure import Array, Sources, Structure
from wagma_rma.options import STEPS, Options
from wagma_rma.model.leaf_pointers import LeafPointers, is_like, is_plain
from wagma_rma.protocol.protocol import Protocol
from wagma_rma.windows.remote import RemoteWindow
from wagma_rma.report import Outcome, Report, Statistics
from wagma_rma.windows.shared import SharedWindow
from wagma_rma.stepping import Stepper, deliver
from wagma_rma.protocol.synchronization import BLOCK, StepMismatch, Synchronizer
from wagma_rma.waiting.watch import Expectation, Watch
from wagma_rma.waiting.waiter import Waiter

M = TypeVar("M")


class _Held(NamedTuple):
    """The memory of a step: what the caller gets, its leaves, plain memory for the model and for these."""

    result: Any
    outputs: list[Array]  # or none, if the memory is given by address
    sources: Sources
    targets: list[Array] | list[int]


def check_mpi(comm: object) -> None:
    """Check that MPI can be used, and `comm`. Local."""
    if not MPI.Is_initialized():
        raise RuntimeError(
            "GroupAverager: MPI is not initialised; import mpi4py.MPI, or call MPI.Init_thread() "
            "if mpi4py.rc.initialize is off"
        )
    if MPI.Is_finalized():
        raise RuntimeError("GroupAverager: MPI has been finalised; make the averager before")
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise RuntimeError(
            f"GroupAverager: MPI provides thread level {MPI.Query_thread()}, less than "
            f"MPI_THREAD_MULTIPLE ({MPI.THREAD_MULTIPLE}); leave mpi4py.rc.thread_level at 'multiple'"
        )
    if not isinstance(comm, MPI.Intracomm) or comm == MPI.COMM_NULL:
        raise TypeError(
            f"GroupAverager: comm is {comm!r}; pass an mpi4py intracommunicator such as MPI.COMM_WORLD"
        )


class GroupAverager:
    """Average the models of ranks that train copies of one model, and wait for nobody.

    At step 1, 2, ... every rank comes with the model x_i it has just updated. At a multiple of `sync_period`
    all ranks get the mean of all models, together. At any other step the ranks form small groups, which
    change with the step, and the first `quorum` members to come average the newest models of the whole group;
    who is late takes part with the model it last published. Source: WAGMA-SGD, Li et al., TPDS 32(7), 2021.

    Args:
        comm: the ranks, an mpi4py intracommunicator, on one host or many. It is duplicated.
        model: a numpy array, or lists, tuples and dicts of such, nested as you like, of any shapes: float32,
            float64, float16 or bfloat16 (ml_dtypes), mixed. An example of what average() will be given, and
            the start: see `broadcast`. Sums of 16-bit floats are made in float32.
        group_size: members of a group, 1 to the number of ranks; None: near its square root.
        sync_period: steps from one synchronisation to the next; contributions are less old than that.
        quorum: arrivals that it takes to start an average. 1: nobody ever waits for the absent.
            group_size: a plain average of the group, which waits for all of it. (A rank whose wait is cut
            short, by the timeout or Ctrl-C, starts the average with those who have come.)
        patience: seconds to wait for the rest of the group once the quorum is there. "auto": about what the
            exchange would cost this rank alone (a running estimate), so that ranks in time share the work.
        grouping: who averages with whom (wagma_rma.Grouping); None: Butterfly, or Strided where the number
            of ranks has no suitable factors.
        broadcast: write rank 0's values into every rank's `model`, so that all begin alike.
            False: the models are used as they are.
        start_step: steps done in an earlier run; see state_dict().
        timeout: seconds after which a synchronisation, or a wait for a quorum, raises
            SynchronizationTimeout; None: never. A warning (logger "wagma_rma") names the missing every 30 s
            in any case.
        topology: over several hosts, have the first groups of each turn lie within hosts as far as sizes
            allow, so that less goes over the network. Not for a `grouping` of one's own.
        window: "shared": memory of one host. "remote": MPI's one-sided operations, which go over a network.
            "auto": shared if all ranks share a host.
        progress: whether each rank has a thread that serves operations on its memory while it computes:
            "thread" or "none". "auto": if the network needs it, which is measured. Only for a remote window.

    Each rank allocates window_bytes(model, ranks) bytes of shared memory: its snapshots (three, or one more
    than the groupings in a full turn) and three results (in float32 for 16-bit models).

    Raises (on every rank):
        TypeError: a leaf or an option has the wrong type.
        ValueError: an option is out of range, or ranks disagree; says which rank, what, and both values.
        MemoryError: less shared memory is free than the windows need; says both.
        RuntimeError: MPI is not initialised, finalised, or below MPI_THREAD_MULTIPLE. (This, and what is
            wrong with `comm` itself, is raised by the rank that finds it alone.)

    Making an averager is collective, and so is close(). Use one from one thread at a time.

    Example, on each of two ranks:
        >>> comm = MPI.COMM_WORLD
        >>> model = {"w": np.full(3, float(comm.rank)), "b": np.zeros(())}
        >>> with GroupAverager(comm, model, group_size=2, quorum=2, broadcast=False) as averager:
        ...     average = averager.average(model)
        ...     step, outcome, ages = averager.step, averager.report.outcome.name, averager.report.ages
        >>> average
        {'w': array([0.5, 0.5, 0.5]), 'b': array(0.)}
        >>> step, outcome, ages
        (1, 'FRESH', (0, 0))
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        model: Any,
        *,
        group_size: int | None = None,
        sync_period: int = 10,
        quorum: int = 1,
        patience: float | Literal["auto"] = "auto",
        grouping: Grouping | None = None,
        broadcast: bool = True,
        start_step: int = 0,
        timeout: float | None = None,
        topology: bool = True,
        window: Literal["auto", "shared", "remote"] = "auto",
        progress: Literal["auto", "thread", "none"] = "auto",
    ) -> None:
        self._closed = "was not made"
        self._closing = False
        self._broken = ""
        self._clear = False  # nothing is known to be in the way of group steps up to the next synchronisation
        self._interrupts = Interrupts()
        self._busy = threading.Lock()
        self._floats = DefaultFloats()
        check_mpi(comm)
        # From here on a rank that finds something wrong still takes part until all know.
        self._comm, request = comm.Idup()
        Waiter().wait_for(request.Test)
        try:
            self._open(
                self._prepare(
                    model,
                    broadcast,
                    group_size=group_size,
                    sync_period=sync_period,
                    quorum=quorum,
                    patience=patience,
                    grouping=grouping,
                    start_step=start_step,
                    timeout=timeout,
                    topology=topology,
                    window=window,
                    progress=progress,
                ),
                model,
                broadcast,
            )
        except Exception:
            self._comm.Free()
            raise

    def _prepare(self, model: Any, broadcast: bool, **options: Any) -> Options:
        """Check the arguments here, and that all ranks agree on them. Collective."""
        checked: Options | None = None
        found: Facts | Exception
        self._hosts = hosts.host_numbers(self._comm)
        several = max(self._hosts) > 0
        try:
            checked = Options(self._comm.size, hosts=self._hosts if several else None, **options)
            self._structure = Structure("GroupAverager", model)
            leaves = self._structure.leaves("GroupAverager", model)
            for path, leaf in zip(self._structure.paths, leaves, strict=True):
                if broadcast and not leaf.flags.writeable:
                    raise ValueError(
                        f"GroupAverager: {path} is read-only, and broadcast=True writes rank 0's values "
                        "into it; pass a copy, or broadcast=False"
                    )
            found = {
                **checked.facts(self._comm.size),
                "broadcast": bool(broadcast),
                "leaves": self._structure.facts(),
            }
            if checked.window == "shared" and several:
                raise ValueError(
                    f"GroupAverager: window='shared', but the {self._comm.size} ranks of comm are on "
                    f"{max(self._hosts) + 1} hosts; pass 'auto' or 'remote', or a communicator within "
                    "one host, such as comm.Split_type(MPI.COMM_TYPE_SHARED)"
                )
        except Exception as error:
            found = error
        agree(self._comm, "GroupAverager", found)
        assert checked is not None
        return checked

    def _open(self, options: Options, model: Any, broadcast: bool) -> None:
        """Allocate the windows and publish the common start. Collective."""
        across_hosts = options.window == "remote" or (options.window == "auto" and max(self._hosts) > 0)
        self._layout = options.layout(self._structure, across_hosts)
        size = self._layout.nbytes, self._layout.words_bytes
        self._window: SharedWindow | RemoteWindow
        if across_hosts:
            self._window = RemoteWindow(self._comm, self._hosts, *size, options.progress)
        else:
            self._window = SharedWindow(self._comm, *size)
        groups = options.groups(self._comm.rank)
        self._sync_period = options.sync_period
        self._quorum = options.quorum
        self._seconds = self._seconds_waited = 0.0
        self._all_seconds = self._all_seconds_waited = 0.0
        self._synchronized = 0
        self._groups = groups

        found: Facts | Exception = {}
        try:
            # All the private memory that is ever needed: a rank that has none tells the others.
            self._protocol = Protocol(self._window, self._layout, groups, options.quorum, options.patience)
            self._pointers = LeafPointers(self._layout.order)
            self._buffers = Buffers(self._protocol.snapshots, self._layout, self._structure)
            self._containers = self._structure.rebuild(model, [None] * self._layout.leaf_count)
            held = self._hold("GroupAverager", model, model if broadcast else None)
            self._pointers.hold(self._layout.order, held.sources, held.targets)
        except Exception as error:
            found = error
        try:
            agree(self._comm, "GroupAverager", found)
        except Exception:
            self._window.free()
            raise
        first = self._protocol.prepare(self._pointers)
        if broadcast:
            for begin in range(0, len(first), BLOCK):
                self._comm.Bcast(first[begin : begin + BLOCK])
        self._protocol.begin(options.start_step)
        if broadcast:
            self._protocol.snapshots.restore_all(self._pointers)
            deliver(held.outputs, held.targets)
        self._pointers.release()
        self._watch = Watch(self._reached, options.timeout, self._interrupts)
        self._window.waiter.watcher = self._watch
        self._synchronizer = Synchronizer(
            self._comm, self._window, self._protocol, self._pointers, self._watch, self.step
        )
        self._in_group = Expectation(
            lambda: f"average: rank {self._comm.rank} at step {self.step + 1}",
            lambda: self._absent(self.step + 1),
            lambda: self._synchronizer.check_group("average", self.step + 1, self._group(self.step + 1)),
            "the step counts as MISSED and the model is as it came",
        )
        self._single = self._structure.single()
        expect = partial(self._watch.expect, self._in_group)
        self._stepper = Stepper(
            self._protocol, self._pointers, self._layout.order, self._floats, self._busy, expect
        )
        self._closed = ""
        self._clear = options.start_step + options.sync_period < STEPS
        self._comm.Barrier()

    # Steps.

    def average(self, model: M, out: Any = None) -> M:
        """Do one step: average with this step's group, or with all ranks at a multiple of sync_period.

        With W the sum of the group's |G| contributions in member order: FRESH, my contribution was `model`:
        W / |G|. LATE, it was an older model of mine: (W + model) / (|G| + 1). MISSED, the sum is no longer
        kept: `model`. All members that use the sum of one step use the same bits.

        Args:
            model: containers, shapes and dtypes as the averager was made with; C-contiguous or not.
            out: where the average goes, like `model`; out=model averages in place. None: new arrays, or such
                as buffers() returns once that has been called.

        Returns:
            `out`, or those arrays in containers like those of `model`.

        Raises:
            TypeError, ValueError: `model` or `out` is not like the model the averager was made with, or `out`
                is read-only. The step does not count. At a synchronisation every rank raises it.
            SynchronizationTimeout: a wait outlasted the timeout. At a synchronisation nothing is lost: call
                again with the same model to go on waiting. Waiting for a quorum, the step counts as MISSED.
            RuntimeError: the averager is closed, in use by another thread, or has a synchronize() to complete
                that was cut short.

        Collective and blocking at a multiple of sync_period; else it waits for `patience` at most, or for
        the quorum.
        """
        if (self._protocol.last_step + 1) % self._sync_period == 0:
            holding = partial(self._hold, "average", model, out, together=True)
            return self._synchronize("average", holding)  # type: ignore[no-any-return]
        if out is model and is_like(model, self._single):  # nothing to be looked into
            leaves: list[Array] = [model]
            self._step(leaves, leaves, leaves)
            return model
        self._check_usable("average")
        held = self._hold("average", model, out)
        self._step(held.sources, held.targets, held.outputs)
        return held.result  # type: ignore[no-any-return]

    def synchronize(self, model: M, out: Any = None) -> M:
        """Do one step: give every rank the mean of all models, the same bits everywhere.

        Args, Returns, Raises: as average().

        Collective, blocking: every rank must call it at the same step.
        """
        holding = partial(self._hold, "synchronize", model, out, together=True)
        return self._synchronize("synchronize", holding)  # type: ignore[no-any-return]

    def buffers(self) -> Any:
        """Return a model whose arrays lie in the window, where a group step publishes it without copying it.

        At first they hold the common start. Write the next model into them and pass them to average() or
        synchronize() with out=None, which from now on returns such arrays: go on with these. The arrays that
        a group step was given are read-only from then on, since others may be reading them, and some steps
        later another average comes to lie there; a synchronisation writes the mean into those that it was
        given. Do not write to them through views made before (a reshaped array, a torch tensor), and copy
        what you want to keep.

        Returns:
            arrays in containers like those that the averager was made with: those that the last step
            returned, as they are now; after one with `out` of your own, those that it left you, or else new
            ones with the model that this rank published last. Where slow ranks use all snapshots they are
            ordinary arrays, as may be those of average().

        After an exception of average() call this again, for arrays that may be written to. If a rank still
        has any of them when all close(), the windows keep their memory until the program ends. Local.

        Example, on each of two ranks:
            >>> comm = MPI.COMM_WORLD
            >>> with GroupAverager(comm, np.zeros(3), group_size=2, quorum=2) as averager:
            ...     model = averager.buffers()
            ...     for _ in range(2):
            ...         model += comm.rank
            ...         model = averager.average(model)
            ...     model.copy()
            ...     del model
            array([1., 1., 1.])
        """
        with self._using("buffers"):
            self._buffers.settle()
            leaves = self._buffers.lent()
            if leaves is None:
                leaves = self._buffers.besides([]) or self._structure.empty()
                self._pointers.hold(self._layout.order, leaves, leaves)
                self._protocol.snapshots.restore_all(self._pointers)
                self._pointers.release()
            return self._structure.rebuild(self._containers, leaves)

    def average_at(self, sources: Sources, targets: list[int]) -> None:
        """Do one step as average() does, for bindings that have memory and no arrays.

        Args:
            sources: the address of each leaf, in the order of leaves: aligned, C-contiguous, of the shapes
                and dtypes that the averager was made with. Nothing of this can be checked. Or functions that
                return such arrays: each is called when its leaf is published, so that what they wait for,
                such as copies from a device, goes on meanwhile.
            targets: where each leaf of the average goes: its source, or memory that overlaps none.

        Raises, and is collective or not: as average().
        """
        if (self._protocol.last_step + 1) % self._sync_period == 0:
            self._synchronize("average", lambda: _Held(None, [], sources, targets))
            return
        self._step(sources, targets, [])

    def synchronize_at(self, sources: Sources, targets: list[int]) -> None:
        """Do one step as synchronize() does; Args: as average_at()."""
        self._synchronize("synchronize", lambda: _Held(None, [], sources, targets))

    def _step(self, sources: Sources, targets: list[Array] | list[int], outputs: list[Array]) -> None:
        """Do a group step."""
        try:
            if not self._clear or MPI.Is_finalized():
                self._check_clear()
            alone = self._stepper.step(sources, targets, outputs)
        except BaseException as error:
            # A step that counts was cut short but done; one that doesn't has been left in the middle.
            if self._stepper.halfway or isinstance(error, StepMismatch):
                self._broken = str(error) or type(error).__name__
                self._clear = False
            raise
        finally:
            # Unless another thread is in a step of its own, to which the slots belong.
            if self._buffers.used and not self._busy.locked():
                self._buffers.settle()
        if not alone:
            raise self._used_twice("average")

    def _synchronize(self, name: str, holding: Callable[[], _Held]) -> Any:
        with self._using(name):
            self._clear = False
            started = self._window.waiter.time()
            step = self.step + 1
            found: Exception | None = None
            self._buffers.settle()
            try:
                held = holding()
                self._pointers.hold(self._layout.order, held.sources, held.targets)
            except Exception as error:
                found = error  # which all ranks will raise
            try:
                waited = self._synchronizer.synchronize(name, step, found)
            except StepMismatch as error:
                self._broken = str(error)
                raise
            finally:
                self._pointers.release()
            deliver(held.outputs, held.targets)
            self._protocol.synchronized(step)
            self._clear = step + self._sync_period < STEPS
            self._synchronized += 1
            self._seconds_waited = waited
            self._seconds = self._window.waiter.time() - started
            self._all_seconds_waited += waited
            self._all_seconds += self._seconds
        return held.result

    def _check_usable(self, name: str) -> None:
        """Refuse a call that can't be served."""
        if self._closed:
            raise RuntimeError(f"{name}: this averager {self._closed}; make a new one")
        if MPI.Is_finalized():
            raise RuntimeError(f"{name}: MPI has been finalised; end the averager's work before")
        if name != "close":
            if self._closing:
                raise RuntimeError(f"{name}: this averager is being closed; call close() again")
            if self._broken:
                raise RuntimeError(
                    f"{name}: this averager can't go on after an error ({self._broken}); "
                    "close it and make a new one"
                )
            if self._protocol.last_step + 1 >= STEPS:
                raise RuntimeError(
                    f"{name}: step {STEPS - 1} is the last that a run can count; start a new run"
                )

    def _check_clear(self) -> None:
        """Refuse a group step that can't be served."""
        self._check_usable("average")
        if self._busy.locked():
            raise self._used_twice("average")
        if self._synchronizer.cut_short:
            raise RuntimeError(
                f"average: rank {self._comm.rank} was cut short while it synchronised step {self.step + 1}; "
                "call synchronize() with the model of that step to complete it"
            )

    def _used_twice(self, name: str) -> RuntimeError:
        return RuntimeError(
            f"{name}: rank {self._comm.rank} uses this averager in two threads at once; "
            "use it from one at a time"
        )

    @contextmanager
    def _using(self, name: str) -> Iterator[None]:
        """Serve any call but a group step: refuse what can't be served, let nothing cut the rest in two."""
        self._check_usable(name)
        with self._interrupts.deferred():
            if not self._busy.acquire(blocking=False):
                raise self._used_twice(name)
            try:
                with self._floats:
                    yield
            finally:
                self._busy.release()

    def _hold(self, name: str, model: Any, out: Any, together: bool = False) -> _Held:
        """Return the memory of a model and of its output, at a step of all ranks or of a group."""
        leaves = self._structure.leaves(name, model)
        if out is None:
            outputs = self._outputs(leaves, together)
            result = self._structure.rebuild(model, outputs)
        else:
            outputs = leaves if out is model else self._structure.leaves(name, out, "out")
            result = out
            for path, leaf in zip(self._structure.paths, outputs, strict=True):
                if not leaf.flags.writeable:
                    raise ValueError(
                        f"{name}: {'out' + path.removeprefix('model')} is read-only; pass a writable "
                        "array, or out=None for new ones"
                    )
        sources = [leaf if is_plain(leaf) else np.array(leaf, order="C") for leaf in leaves]
        targets = [leaf if is_plain(leaf) else np.empty_like(leaf, order="C") for leaf in outputs]
        if self._buffers.used:
            filled = [leaf for leaf, target in zip(outputs, targets, strict=True) if leaf is not target]
            if self._buffers.holds_any_of(filled):
                # They are written to when the step is over; others may be reading by then what it published.
                sources = [np.array(leaf) for leaf in sources]
        return _Held(result, outputs, sources, targets)

    def _outputs(self, leaves: list[Array], together: bool) -> list[Array]:
        """Return arrays for an average."""
        lent: list[Array] | None = None
        if self._buffers.used and together:
            # Not published but summed, so the same arrays will do.
            lent = self._buffers.lent() or self._buffers.besides(leaves)
        elif self._buffers.used:
            if not self._busy.acquire(blocking=False):
                raise self._used_twice("average")
            try:
                lent = self._buffers.besides(leaves)
            finally:
                self._busy.release()
        return lent or self._structure.empty()

    def _reached(self, ranks: Sequence[int]) -> list[int]:
        return self._synchronizer.reached(ranks)

    def _absent(self, step: int) -> list[int] | None:
        """Return the members of this step's group that have not come to it, or None if there is a quorum."""
        group = self._group(step)
        absent = [rank for rank, reached in zip(group, self._reached(group), strict=True) if reached < step]
        return absent if len(group) - len(absent) < min(self._quorum, len(group)) else None

    def _group(self, step: int) -> tuple[int, ...]:
        return self._groups[(step - 1) % len(self._groups)]

    # What was.

    @property
    def step(self) -> int:
        """The last step that this rank has done. Local."""
        return self._protocol.last_step

    @property
    def timeout(self) -> float | None:
        """Seconds after which a wait for other ranks raises SynchronizationTimeout; None: never. Settable. Local."""
        return self._watch.timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._watch.timeout = seconds

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint needs besides each rank's own model: {"step": the last one done}. Local.

        A run goes on from it, with the same groups, if every rank makes its averager with its own model,
        broadcast=False and start_step=state["step"]. All ranks must stop at the same step, which may be any.

        Example:
            >>> comm, model = MPI.COMM_WORLD, np.zeros(3)
            >>> with GroupAverager(comm, model, sync_period=3) as averager:
            ...     model = averager.average(model)
            ...     state = averager.state_dict()
            >>> state
            {'step': 1}
            >>> options = {"start_step": state["step"], "broadcast": False}
            >>> with GroupAverager(comm, model, sync_period=3, **options) as averager:
            ...     for _ in range(2):
            ...         model = averager.average(model)
            ...     averager.step, averager.report.outcome.name
            (3, 'SYNCHRONIZED')
        """
        return {"step": self.step}

    @property
    def report(self) -> Report:
        """The last step of this rank; at first, the common start as a synchronisation. Local."""
        if self.step == self._protocol.last_synchronized:
            ranks = tuple(range(self._window.ranks))
            return Report(
                self.step,
                Outcome.SYNCHRONIZED,
                self.step,
                ranks,
                (0,) * len(ranks),
                False,
                True,
                0,
                0,
                0,
                self._seconds_waited,
                self._seconds,
            )
        (step, kind, *rest) = self._protocol.report()
        return Report(step, Outcome(kind), *rest)  # type: ignore[arg-type]

    @property
    def statistics(self) -> Statistics:
        """Sums over the steps that this averager has done on this rank. Local."""
        steps, fresh, late, missed, *counts, waited, seconds = self._protocol.statistics()
        initiated, unpublished, computed, bytes_read, bytes_over_network = counts
        return Statistics(
            steps + self._synchronized,
            fresh,
            late,
            missed,
            self._synchronized,
            initiated,
            unpublished,
            computed,
            bytes_read,
            bytes_over_network,
            waited + self._all_seconds_waited,
            seconds + self._all_seconds,
        )

    # The end.

    def close(self) -> None:
        """Free the windows. Collective: waits until every rank has called it. Closing twice does nothing.

        Without it memory is freed when the program ends. Across hosts, call it before MPI.Finalize(): a
        thread may be calling MPI.

        Raises:
            SynchronizationTimeout: the wait outlasted the timeout; call again to go on waiting.
        """
        if self._closed:
            return
        with self._using("close"):
            self._closing, self._clear = True, False
            if self._synchronizer.told:
                self._complete_synchronization()
            kept = self._synchronizer.close(self._buffers.in_use())
            self._closed = "is closed"
            # Arrays that anyone still has must not lose their memory.
            if not kept:
                self._window.free()
                self._comm.Free()

    def _complete_synchronization(self) -> None:
        """Do this rank's part in a synchronisation that was cut short; nobody gets its mean here."""
        unused = self._structure.empty()
        self._pointers.hold(self._layout.order, unused, unused)
        try:
            self._synchronizer.synchronize("close", self.step + 1, None)
        except StepMismatch:
            pass  # a rank has closed without having begun it, so no sums are under way
        finally:
            self._pointers.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Other ranks may never leave their blocks after an error in one, so it must not wait for them here.
        if error is None:
            self.close()
