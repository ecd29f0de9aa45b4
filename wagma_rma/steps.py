"""The steps of an averager on one rank, from the check of a call to its report."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from mpi4py import MPI

from wagma_rma.kernels.floats import DefaultFloats
from wagma_rma.lifecycle import Call, Event, Lifecycle, State
from wagma_rma.memory import Held, SecondThread
from wagma_rma.model.structure import Sources
from wagma_rma.opening import Parts
from wagma_rma.protocol.synchronization import StepMismatch
from wagma_rma.report import Synchronizations
from wagma_rma.stepping import Stepper, check_countable, deliver
from wagma_rma.waiting.watch import Expectation


class Steps:
    """Serves the calls of one averager.

    Args:
        parts: what open_averager() has made.
        floats, busy, lifecycle: the averager's own.
    """

    def __init__(
        self, parts: Parts, floats: DefaultFloats, busy: threading.Lock, lifecycle: Lifecycle
    ) -> None:
        self.parts = parts
        self.synchronizations = Synchronizations()
        self._lifecycle = lifecycle
        self._floats = floats
        self._busy = busy
        self._rank = parts.comm.rank
        self._protocol = parts.protocol
        self._pointers = parts.pointers
        self._buffers = parts.buffers
        self._watch = parts.watch
        self._synchronizer = parts.synchronizer
        self._memory = parts.memory
        in_group = Expectation(
            lambda: f"average: rank {self._rank} at step {self._next}",
            lambda: self._absent(self._next),
            lambda: self._synchronizer.check_group("average", self._next, self._group(self._next)),
            "the step counts as MISSED and the model is as it came",
        )
        self.stepper = Stepper(
            parts.protocol,
            parts.pointers,
            floats,
            parts.options.sync_period,
            parts.structure.single(),
            parts.buffers,
            lifecycle,
            busy,
            self._check_group_step,
            partial(parts.watch.expect, in_group),
            partial(self._refuse_second_thread, "average"),
        )

    # Calls.

    def average(self, model: Any, out: Any) -> Any:
        """Serve GroupAverager.average()."""
        if self.stepper.synchronizes_next():
            return self.synchronize("average", model, out)
        self._check_group_step()
        try:
            held = self._memory.hold("average", model, out)
        except SecondThread:
            self._refuse_second_thread("average")
        self.stepper.step(held.sources, held.targets, held.outputs)
        return held.result

    def average_at(self, sources: Sources, targets: list[int]) -> None:
        """Serve GroupAverager.average_at()."""
        if self.stepper.synchronizes_next():
            self.synchronize_at("average", sources, targets)
        else:
            self.stepper.step(sources, targets, [])

    def synchronize(self, name: str, model: Any, out: Any) -> Any:
        """Serve GroupAverager.synchronize()."""
        held = self._synchronize(name, lambda: self._memory.hold(name, model, out, together=True))
        return held.result

    def synchronize_at(self, name: str, sources: Sources, targets: list[int]) -> None:
        """Serve GroupAverager.synchronize_at()."""
        self._synchronize(name, lambda: Held(None, [], sources, targets))

    def lend(self) -> Any:
        """Serve GroupAverager.buffers()."""
        with self._using(Call.BUFFERS, "buffers"):
            self._buffers.settle()
            leaves = self._buffers.lent()
            if leaves is None:
                leaves = self._buffers.besides([]) or self.parts.structure.empty()
                self._pointers.hold(leaves, leaves)
                self._protocol.snapshots.restore_all(self._pointers)
                self._pointers.release()
            return self.parts.structure.rebuild(self.parts.containers, leaves)

    def close(self) -> None:
        """Serve GroupAverager.close()."""
        if self._lifecycle.state is State.CLOSED:
            return
        with self._using(Call.CLOSE, "close"):
            self._lifecycle.happens(Event.CLOSE)
            if self._lifecycle.state is State.CLOSING_COUNTED_ON:
                self._do_own_part()
            kept = self._synchronizer.close(self._buffers.in_use())
            self._lifecycle.happens(Event.ENDED)
            # Arrays that anyone still has must not lose their memory.
            if not kept:
                self.parts.window.free()
                self.parts.comm.Free()

    # How they are served.

    def _synchronize(self, name: str, holding: Callable[[], Held]) -> Held:
        """Perform the next step as a synchronisation, or continue one.

        Args:
            holding: returns the memory of the step, or raises what is wrong with the caller's arguments.
        """
        with self._using(Call.SYNCHRONIZE, name):
            step = self._next
            check_countable(name, step)
            self._lifecycle.happens(Event.BEGIN)
            started = self.parts.window.waiter.time()
            found: Exception | None = None
            held: Held | None = None
            self._buffers.settle()
            try:
                held = holding()
                self._pointers.hold(held.sources, held.targets)
            except Exception as error:
                found = error  # which all ranks will raise
            try:
                waited = self._synchronizer.synchronize(name, step, found)
            except BaseException as error:
                self._note_failure(error)
                raise
            finally:
                self._pointers.release()
            assert held is not None  # or all ranks would have refused together
            deliver(held.outputs, held.targets)
            self._protocol.synchronized(step)
            self._lifecycle.happens(Event.SYNCHRONIZED)
            self.synchronizations.add(self.parts.window.waiter.time() - started, waited)
        return held

    def _note_failure(self, error: BaseException) -> None:
        """Change the state after a synchronisation that has raised."""
        if isinstance(error, StepMismatch):
            self._lifecycle.happens(Event.BREAK, error)
        elif self._synchronizer.counted_on:
            self._lifecycle.happens(Event.COUNT_ON)
        elif not self._synchronizer.cut_short:
            self._lifecycle.happens(Event.REFUSED)

    def _do_own_part(self) -> None:
        """Do this rank's part in a synchronisation that was cut short; nobody gets its mean here."""
        unused = self.parts.structure.empty()
        self._pointers.hold(unused, unused)
        try:
            self._synchronizer.synchronize("close", self._next, None)
        except StepMismatch as error:
            # A rank has closed without having begun it, so no sums are under way.
            self._lifecycle.happens(Event.BREAK, error)
        else:
            self._lifecycle.happens(Event.SYNCHRONIZED)
        finally:
            self._pointers.release()

    def _check_group_step(self) -> None:
        """Refuse a group step that can't be served."""
        if self._lifecycle.state is State.READY and not MPI.Is_finalized():
            return
        if self._lifecycle.state in (State.SYNCHRONIZING, State.COUNTED_ON) and self._busy.locked():
            self._refuse_second_thread("average")  # it is in the synchronisation
        self._lifecycle.check(Call.GROUP_STEP, "average", self._rank, self._next)

    def _refuse_second_thread(self, name: str) -> NoReturn:
        raise RuntimeError(
            f"{name}: rank {self._rank} uses this averager in two threads at once; use it from one at a time"
        )

    @contextmanager
    def _using(self, call: Call, name: str) -> Iterator[None]:
        """Serve any call but a group step: refuse what can't be served, let nothing interrupt the rest."""
        self._lifecycle.check(call, name, self._rank, self._next)
        with self.parts.interrupts.deferred():
            if not self._busy.acquire(blocking=False):
                self._refuse_second_thread(name)
            try:
                with self._floats:
                    yield
            finally:
                self._busy.release()

    # The group of a step.

    @property
    def _next(self) -> int:
        return self._protocol.last_step + 1

    def _absent(self, step: int) -> list[int] | None:
        """Return the members of this step's group that have not arrived, or None if there is a quorum."""
        group = self._group(step)
        reached = self.parts.announcements.reached(group)
        absent = [rank for rank, at in zip(group, reached, strict=True) if at < step]
        return absent if len(group) - len(absent) < min(self.parts.options.quorum, len(group)) else None

    def _group(self, step: int) -> tuple[int, ...]:
        return self.parts.groups[(step - 1) % len(self.parts.groups)]
