"""The numpy API: average the models of small, changing groups of ranks, and all of them now and then."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeVar

from mpi4py import MPI

from wagma_rma import endings
from wagma_rma import report as reports
from wagma_rma.devices.cuda import CudaCopies
from wagma_rma.groups.grouping import Grouping
from wagma_rma.kernels.floats import DefaultFloats
from wagma_rma.lifecycle import Lifecycle
from wagma_rma.model.copies import DeviceLeaves
from wagma_rma.model.selection import Select
from wagma_rma.model.structure import Sources
from wagma_rma.mpi.launcher import check_company
from wagma_rma.opening import open_averager
from wagma_rma.options import checked_timeout
from wagma_rma.report import Report, Statistics
from wagma_rma.seeing.ranks import RankStatus, RankTable
from wagma_rma.steps import Steps
from wagma_rma.windows.remote import RemoteWindow

logger = logging.getLogger("wagma_rma")

M = TypeVar("M")


class GroupAverager:
    """Average the models of ranks that train copies of one model; most steps wait for no slow rank.

    At step 1, 2, ... every rank comes with the model x_i it has just updated. At a multiple of `sync_period`
    all ranks get the mean of all models, together. At any other step (with `group_period`, at its other
    multiples) the ranks form small groups, which change with the step, and the first `quorum` members to
    arrive average the newest models of the whole group; a late member takes part with the model it last
    published. Source: WAGMA-SGD, Li et al., TPDS 32(7), 2021.

    Args:
        comm: the ranks, an mpi4py intracommunicator, on one host or many. It is duplicated.
        model: an array, or lists, tuples, mappings and dataclasses of such, nested as you like, of any
            shapes: float32, float64, float16 or bfloat16 (ml_dtypes), mixed. An example of what average()
            will be given, and the start: see `broadcast`. Sums of 16-bit floats are made in float32. Arrays
            are numpy's, or other ones on the CPU that offer their memory by __dlpack__ or
            __array_interface__; they are read and written where they lie. Torch tensors may require
            gradients: they are averaged as an optimizer changes them, outside of autograd. jax arrays can
            be read only: see jax_bindings.
        group_size: members of a group, 1 to the number of ranks; None: near its square root.
        sync_period: steps from one synchronisation to the next; each contribution is fewer steps old.
        group_period: steps from one group average to the next, 1 to `sync_period`: for a network on which a
            group average takes about as long as what a rank computes in a step. At the steps between, which
            are neither a multiple of it nor of `sync_period`, a rank goes on with its own model.
        quorum: arrivals that it takes to start an average. 1: a group step waits for `patience` at most.
            group_size: a plain average of the group, which waits for all of it. (A rank whose wait is cut
            short, by the timeout or Ctrl-C, starts the average with the members that have arrived.)
        patience: seconds to wait for the rest of the group once the quorum is there. "auto": twice what
            the exchange costs if all share it (a running estimate), or a tenth of what this rank usually
            computes between two steps (the median of the last three), whichever is more. So ranks whose steps
            differ by some per cent meet, and share the work.
        sync_quorum: how many ranks call a synchronisation, by having done sync_period steps since the last:
            a number, or a fraction of all as a float in (0, 1]. All others synchronise at their next call of
            average() then, and skip the steps in between; so nobody waits longer than the slowest rank takes
            for the step it is in. (A rank that is behind, and finds that its group has done the last step
            before the call, first waits for it: for half of what its own step takes, or for `patience` if
            that is a number.) Write such a loop as `while averager.step < steps`. None: all of them; no
            step is skipped.
        overlap: a group step returns as soon as this rank has published its model, and a thread of the
            averager makes the exchange while the program computes. The average arrives one group step later,
            as a difference; see average(). For networks on which an exchange takes more than a tenth of a
            step. With patience="auto" the thread waits for its group until three quarters of what this rank
            usually computes are over, the exchange included.
        grouping: which ranks average together (wagma_rma.Grouping); None: Butterfly, or Strided where
            the number of ranks has no suitable factors.
        broadcast: write rank 0's values into every rank's `model`, so that all begin alike.
            False: the models are used as they are.
        start_step: steps done in an earlier run; see state_dict().
        timeout: seconds after which a synchronisation, or a wait for a quorum, raises
            SynchronizationTimeout; None: never. A warning (logger "wagma_rma") names the missing
            ranks every 30 s in any case.
        topology: over several hosts, have the first groups of each turn lie within hosts as far as sizes
            allow, so that less goes over the network. Not for a `grouping` of one's own.
        window: "shared": memory of one host. "remote": MPI's one-sided operations, which go over a network.
            "auto": shared if all ranks share a host.
        progress: whether each rank has a thread that serves operations on its memory while it computes:
            "thread" or "none". "auto": if the network needs it, which is measured. Only for a remote window.
        select_synchronized: leaves that are averaged at synchronisations only, such as an optimizer's
            moments: containers like the model's that hold bools, in which one bool may stand for a whole
            container; or a function of a leaf's path, "['moments'][0]" for instance, and the leaf. At other
            steps such a leaf costs nothing and comes back as it was passed. None: no leaf.
        trace: a file to which rank 0 writes, in close(), what all ranks did and when: the newest 20,000 steps
            of each (of more than 25 ranks fewer), as trace events that ui.perfetto.dev shows; compressed if
            the name ends in .gz. Where a run ends without close(), each rank writes a file of its own:
            run.rank3.json for run.json. None: what the environment variable WAGMA_RMA_TRACE of rank 0 says,
            or no trace. See wagma_rma/SEEING.md.

    Each rank allocates window_bytes(model, ranks) bytes of shared memory: its snapshots (three, or one more
    than the groupings in a full turn) and three results (in float32 for 16-bit models); for leaves that are
    averaged at synchronisations only two places for sums.

    Raises (on every rank):
        TypeError: a leaf or an option has the wrong type.
        ValueError: an option is out of range, or ranks disagree; says which rank, what, and both values.
        MemoryError: less shared memory is free than the windows need; says both.
        RuntimeError: MPI is not initialised, finalised, or below MPI_THREAD_MULTIPLE. (Only
            the rank that finds this, or an error in `comm` itself, raises it.)

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

    _operation: str = "GroupAverager"  # what is being made, for errors

    def __init__(
        self,
        comm: MPI.Intracomm,
        model: Any,
        *,
        group_size: int | None = None,
        sync_period: int = 10,
        group_period: int = 1,
        quorum: int = 1,
        patience: float | Literal["auto"] = "auto",
        sync_quorum: float | None = None,
        overlap: bool = False,
        grouping: Grouping | None = None,
        broadcast: bool = True,
        start_step: int = 0,
        timeout: float | None = None,
        topology: bool = True,
        window: Literal["auto", "shared", "remote"] = "auto",
        progress: Literal["auto", "thread", "none"] = "auto",
        select_synchronized: Select = None,
        trace: str | os.PathLike[str] | None = None,
    ) -> None:
        busy = threading.Lock()
        parts = open_averager(
            self._operation,
            comm,
            model,
            broadcast,
            busy,
            group_size=group_size,
            sync_period=sync_period,
            group_period=group_period,
            quorum=quorum,
            patience=patience,
            sync_quorum=sync_quorum,
            overlap=overlap,
            grouping=grouping,
            start_step=start_step,
            timeout=timeout,
            topology=topology,
            window=window,
            progress=progress,
            select_synchronized=select_synchronized,
            trace=trace,
        )
        self._steps = Steps(parts, DefaultFloats(), busy, Lifecycle())
        self._stepper = self._steps.stepper
        self._protocol = parts.protocol
        endings.open_until_closed(self._steps)
        if lonely := check_company(comm):
            logger.warning("%s: %s", self._operation, lonely)

    def average(self, model: M, out: Any = None) -> M:
        """Do one step: average with this step's group, or with all ranks at a multiple of sync_period.

        At a step that is a multiple neither of `group_period` nor of `sync_period`, a LOCAL one, this rank
        exchanges nothing, and gets `model` as it came. At another one let W be the sum of the group's |G|
        contributions in member order. The average is

        - FRESH, this rank's contribution was `model`: W / |G|;
        - LATE, it was an older model of this rank: (W + model) / (|G| + 1), or W / |G| if W is the sum of a
          later step and contains `model`;
        - MISSED, the sum is no longer kept: `model`.

        All members that use the sum of one step use the same bits.

        With `overlap` a group step returns z = model + (A - z'), and publishes it, where z' is what this
        rank has published at the group step before, and A the average that it would have returned there. (Of
        16-bit floats z is computed in float32.) Nothing is added where that was MISSED, or after a
        synchronisation. A synchronisation averages the models z.

        Args:
            model: containers, shapes and dtypes as the averager was made with; C-contiguous or not.
            out: where the average goes, like `model`; out=model averages in place. None: new arrays;
                once buffers() has been called, arrays such as it returns.

        Returns:
            `out`, or the new arrays in containers like those of `model`: torch tensors where `model` has
            torch tensors, numpy arrays elsewhere.

        Raises:
            TypeError, ValueError: `model` or `out` is not like the model the averager was made with, or `out`
                is read-only, as jax arrays are. The step does not count. At a synchronisation every rank
                raises it.
            SynchronizationTimeout: a wait outlasted the timeout. At a synchronisation nothing is lost: call
                again with the same model to go on waiting. Waiting for a quorum, the step counts as MISSED.
            RankLeft: a rank that this step needs has left the run, by an error or by its end.
            StepMismatch: ranks wait for each other at different steps, or one has closed.
            RuntimeError: the averager is closed, in use by another thread, has a synchronize() to complete
                that was cut short, or belongs to another process, of which this one is a fork.

        Any other exception of a signal handler is raised here too, and no step is left half done: as after
        the timeout, a group step counts as MISSED, and a synchronisation is continued by the next call.

        Collective and blocking at a multiple of sync_period; else it waits for `patience` at most, or for
        the quorum.
        """
        if self._stepper.step_in_place(model, out):
            return model
        return self._steps.average(model, out)  # type: ignore[no-any-return]

    def complete(self, model: M, out: Any = None) -> M:
        """Return a model with the average that is still to come: with `overlap`, after a group step.

        That is z = model + (A - z') as average() has it. No step is done, and nothing is published. For a
        model that is evaluated or saved between two steps; synchronisations complete it by themselves.

        Args, Returns: as average(). Raises: as average() at a group step. Local: waits for this rank's part
        in the exchange under way.

        Example, on each of two ranks:
            >>> comm = MPI.COMM_WORLD
            >>> with GroupAverager(comm, np.zeros(3), group_size=2, quorum=2, overlap=True) as averager:
            ...     model = averager.average(np.full(3, float(comm.rank)))
            ...     own, completed = model.copy(), averager.complete(model)
            >>> float(own[0]) == comm.rank, completed
            (True, array([0.5, 0.5, 0.5]))
        """
        return self._steps.complete(model, out)  # type: ignore[no-any-return]

    def synchronize(self, model: M, out: Any = None) -> M:
        """Do one step: give every rank the mean of all models, the same bits everywhere.

        Args, Returns, Raises: as average().

        Collective, blocking: every rank must call it at the same step.
        """
        return self._steps.synchronize(model, out)  # type: ignore[no-any-return]

    def join(self, model: M, out: Any = None) -> M:
        """Take part in the synchronisations of ranks that still have steps to do; return the last mean.

        For ranks with different numbers of batches: each calls it after its last one. Until all have called
        it, this rank is an absent member of its groups, whose newest snapshot the others average, and takes
        part in each synchronisation, at first with `model`, then with the mean. Then all synchronise once
        more: they return the same bits, and `step` is the same at all. Another epoch may follow.

        Args, Returns: as average().

        Raises: as average(). If the wait was cut short (timeout, Ctrl-C), call it again with the same model.

        Collective, blocking: every rank must call it.

        Example, on each of two ranks:
            >>> comm = MPI.COMM_WORLD
            >>> with GroupAverager(comm, np.zeros(3), sync_period=4) as averager:
            ...     model = np.zeros(3)
            ...     for _ in range(5 + 2 * comm.rank):
            ...         model = averager.average(model)
            ...     model = averager.join(model)
            ...     averager.step
            8
        """
        return self._steps.join(model, out)  # type: ignore[no-any-return]

    def buffers(self) -> Any:
        """Return a model whose arrays lie in the window, where a group step publishes it without copying it.

        At first they hold the common start. Write the next model into them and pass them to average() or
        synchronize() with out=None, which from now on returns such arrays: continue with these.

        - A group step makes the arrays it was given read-only, since other ranks may read them from then on.
          Some steps later another average overwrites them.
        - A synchronisation writes the mean into the arrays it was given, and a LOCAL step returns them.
        - Leaves that are averaged at synchronisations only are ordinary arrays; steps return these.

        Do not write to them through views made before (a reshaped array, a torch tensor), and copy what you
        want to keep.

        Returns:
            arrays in containers like those that the averager was made with: the arrays that the last step
            returned, as they are now; after a step with `out` of your own, the arrays that are still lent to
            you, or new ones with the model that this rank published last. Where slow ranks keep all snapshots
            pinned, they are ordinary arrays; so may be those that average() returns.

        After an exception of average() call this again, for arrays that may be written to. If a rank still
        has any of them when all close(), the windows keep their memory, at most until the program ends.
        Local.

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
        return self._steps.lend()

    def average_at(self, sources: Sources, targets: list[int]) -> None:
        """Do one step as average() does, for bindings that have memory and no arrays.

        Args:
            sources: the address of each leaf, in the order of leaves: aligned, C-contiguous, of the shapes
                and dtypes that the averager was made with. None of this can be checked. Or functions that
                return such arrays: each is called when its leaf is published, so that copies from a device,
                for instance, go on meanwhile. Or DeviceLeaves, with cuda_copies().
            targets: where each leaf of the average goes: its source, or memory that overlaps none; with
                DeviceLeaves the `room` of their copies.

        Raises, and is collective or not: as average().
        """
        self._steps.average_at(sources, targets)

    def complete_at(self, sources: Sources, targets: list[int]) -> None:
        """Do what complete() does; Args: as average_at()."""
        self._steps.complete_at(sources, targets)

    def synchronize_at(self, sources: Sources, targets: list[int]) -> None:
        """Do one step as synchronize() does; Args: as average_at()."""
        self._steps.synchronize_at(sources, targets)

    def join_at(self, sources: Sources, targets: list[int]) -> None:
        """Do what join() does; Args: as average_at()."""
        self._steps.join_at(sources, targets)

    def cuda_copies(self) -> CudaCopies:
        """Return the copies of steps whose leaves lie on a CUDA device, for bindings.

        DeviceLeaves(copies, stream, sources, targets) says where the leaves of a step lie on the device; the
        step itself is average_at(leaves, copies.room), synchronize_at() or complete_at(). A target is its
        source, or memory that overlaps none. All copies go into the stream, so what follows in it finds the
        average.

        Raises:
            CudaError: the driver's library can't be used.

        Local.
        """
        return self._steps.cuda_copies()

    def give_difference(self, leaves: DeviceLeaves) -> None:
        """Give a device what average() adds at the next step, to be added there. For bindings.

        For a device that adds it itself: with `overlap`, that is A - z' as average() has it.

        Args:
            leaves: with cuda_copies(); targets are memory on the device for the leaves of the difference, in
                the type of sums (float32 for 16-bit leaves), and for a flag: 1, or 0 if there is none; then
                nothing else is written. Leaves that are averaged at synchronisations only have none. The
                step that follows is called with DeviceLeaves that are `moved`; it publishes what it gets.

        Raises: as average() at a group step. Local: waits for this rank's part in the exchange under way.
        """
        self._steps.give_difference(leaves)

    # What the last step and the run were like.

    @property
    def step(self) -> int:
        """The last step that this rank has done. Local."""
        return self._protocol.last_step

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint needs besides each rank's own model: {"step": the last one done}. Local.

        A run goes on from it, with the same groups, if every rank makes its averager with its own model,
        broadcast=False and start_step=state["step"]. All ranks must stop at the same step, which may be any.
        With `overlap` a checkpoint keeps what complete(model) returns; this call waits for the exchange under
        way.

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
        self._steps.check_process("state_dict")
        self._steps.await_rest("state_dict")
        return {"step": self.step}

    @property
    def report(self) -> Report:
        """The last step of this rank; at first, the common start as a synchronisation. Local.

        With `overlap`: the last one whose average has arrived, usually the step before `step`.
        """
        if self._protocol.last_synchronized >= self._protocol.last_over:
            last = self._steps.synchronizations.last
            ranks = self._steps.parts.window.ranks
            return reports.of_synchronization(self._protocol.last_synchronized, ranks, last)
        return reports.of_group_step(self._protocol.report())

    @property
    def statistics(self) -> Statistics:
        """Sums over the steps that this averager has done on this rank. Local."""
        return self._steps.synchronizations.with_group_steps(self._protocol.statistics())

    def ranks(self, timeout: float = 1.0) -> RankTable:
        """Return what every rank does now, and how long its steps take: who is slow, and always the same?

        Each rank keeps a row of its own, which this call reads; no rank does anything for it. May be called
        by any thread, in a step of another one too, and in a synchronisation that waits.

        Args:
            timeout: seconds to wait for ranks of other hosts, at most; those that have not answered then have
                the state "no answer".

        Returns:
            a sequence of RankStatus, by rank. str() shows it, the slowest first; slowest(k) returns k ranks.

        Raises:
            RuntimeError: the averager is closed.

        Local.

        Example, on each of two ranks:
            >>> comm = MPI.COMM_WORLD
            >>> with GroupAverager(comm, np.zeros(3), group_size=2, quorum=2) as averager:
            ...     model = averager.average(np.zeros(3))
            ...     ranks = averager.ranks()
            >>> len(ranks), ranks[comm.rank].step, ranks[comm.rank].state
            (2, 1, 'computing')
        """
        return self._steps.look(timeout)

    @property
    def status(self) -> RankStatus:
        """This rank's part of ranks(), compared with no other rank. Local; by any thread, as ranks()."""
        return self._steps.own_status()

    @property
    def timeout(self) -> float | None:
        """Seconds after which a wait for other ranks raises; None: never. May be set between steps. Local."""
        return self._steps.parts.watch.timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._steps.parts.watch.timeout = checked_timeout(self._operation, seconds)

    # What was chosen.

    @property
    def group_size(self) -> int:
        """The members of a group. Local."""
        return self._steps.parts.options.grouping.size

    @property
    def sync_period(self) -> int:
        """Steps from one synchronisation to the next. Local."""
        return self._steps.parts.options.sync_period

    @property
    def group_period(self) -> int:
        """Steps from one group average to the next. Local."""
        return self._steps.parts.options.group_period

    @property
    def quorum(self) -> int:
        """Arrivals that it takes to start an average. Local."""
        return self._steps.parts.options.quorum

    @property
    def sync_quorum(self) -> int:
        """How many ranks call a synchronisation; the number of ranks if none is called. Local."""
        return self._steps.parts.options.sync_quorum

    @property
    def overlap(self) -> bool:
        """Whether an exchange goes on while the program computes. Local."""
        return self._steps.parts.options.overlap

    @property
    def patience(self) -> float | Literal["auto"]:
        """Seconds to wait for the rest of a group once the quorum is there, or "auto". Local."""
        seconds = self._steps.parts.options.patience
        return seconds if seconds >= 0 else "auto"

    @property
    def window(self) -> Literal["shared", "remote"]:
        """Whether models lie in memory of one host or are read by MPI's one-sided operations. Local."""
        return "remote" if isinstance(self._steps.parts.window, RemoteWindow) else "shared"

    @property
    def progress(self) -> Literal["thread", "none"]:
        """Whether this rank has a thread that serves the other ranks while it computes. Local."""
        window = self._steps.parts.window
        return "thread" if isinstance(window, RemoteWindow) and window.progress == "thread" else "none"

    @property
    def hosts(self) -> tuple[int, ...]:
        """The number of each rank's host: (0, 0, 1, 1) is two hosts with two ranks each. Local."""
        return self._steps.parts.hosts

    @property
    def bytes(self) -> int:
        """The bytes of window memory that this rank has, see window_bytes(). Local."""
        return self._steps.parts.layout.nbytes

    def __repr__(self) -> str:
        window, hosts = self._steps.parts.window, max(self.hosts) + 1
        return (
            f"<{self._operation} of rank {window.rank} of {window.ranks} at step {self.step}: "
            f"group_size={self.group_size}, sync_period={self.sync_period}, "
            f"group_period={self.group_period}, quorum={self.quorum}, patience={self.patience!r}, "
            f"sync_quorum={self.sync_quorum}, overlap={self.overlap}, window={self.window!r}, "
            f"progress={self.progress!r}, {hosts} host{'s' if hosts > 1 else ''}, {self.bytes:,} bytes>"
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self._operation}: an averager can't be copied or pickled: it is this process's part in what "
            "all ranks have opened together. A checkpoint needs the model and averager.state_dict() alone; "
            "a process that this rank starts, such as a data loader's worker, must not be passed the averager"
        )

    # The end.

    def close(self) -> None:
        """Free the windows. Collective: waits until every rank has called it. Closing twice does nothing.

        Without it memory is freed when the program ends. Across hosts, call it before MPI.Finalize(): a
        thread may be calling MPI.

        Raises:
            SynchronizationTimeout: the wait outlasted the timeout; call again to go on waiting.
            RankLeft: a rank will not call it. The averager is closed here nevertheless.

        After an error with which the averager can't go on, it returns at once. The windows then keep their
        memory until the ranks, having dropped this averager, make another one, or the program ends.
        """
        self._steps.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After an error in this block the other ranks may never call close(), so this rank must not wait for
        # them in close(); nor must they wait for this rank.
        if error is None:
            self.close()
        else:
            self._steps.leaving.leave(error)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        steps = getattr(self, "_steps", None)
        # At the end of the program `endings` has told the others, and modules are being taken apart.
        if steps is not None and not is_finalizing():
            endings.drop(steps, repr(self))
