"""The steps of an averager on one rank, from the check of a call to its report."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from mpi4py import MPI

from wagma_rma.devices.cuda import CudaCopies
from wagma_rma.kernels.floats import DefaultFloats
from wagma_rma.leaving import Leaving
from wagma_rma.lifecycle import IN_JOIN, Call, Event, Lifecycle, State
from wagma_rma.memory import Held, SecondThread
from wagma_rma.model.copies import DeviceLeaves
from wagma_rma.model.structure import Sources, Targets
from wagma_rma.opening import Parts
from wagma_rma.options import checked_seconds
from wagma_rma.protocol.departures import RankLeft
from wagma_rma.protocol.synchronization import StepMismatch
from wagma_rma.report import Synchronization, Synchronizations
from wagma_rma.seeing.ranks import RankStatus, RankTable
from wagma_rma.stepping import Guard, Stepper, check_countable, deliver
from wagma_rma.waiting.watch import Expectation

HALFWAY = (
    State.SYNCHRONIZING,
    State.COUNTED_ON,
    State.MEETING,
    State.MEETING_COUNTED_ON,
    State.CLOSING_COUNTED_ON,
)


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
        self._departures = parts.departures
        # In join(): the mean of the last synchronisation that is complete, and whether that was the last of
        # all.
        self._met: Targets | None = None
        self._jumped = False  # average() has skipped steps to get to the synchronisation that has begun last
        self._all_met = False
        self._memory = parts.memory
        self.leaving = Leaving(parts, lifecycle)
        in_group = Expectation(
            lambda: f"average: rank {self._rank} at step {self._protocol.step_under_way}",
            lambda: self._absent(self._protocol.step_under_way),
            self._check_group,
            "the step counts as MISSED and the model is as it came",
        )
        self.stepper = Stepper(
            parts.protocol,
            parts.pointers,
            floats,
            parts.options.sync_period,
            parts.options.group_period,
            parts.structure.single(),
            parts.buffers,
            lifecycle,
            busy,
            self._check_group_step,
            partial(parts.watch.expect, in_group),
            partial(self._refuse_second_thread, "average"),
            parts.watch.look,
            parts.watch.end,
        )

    # Calls.

    def average(self, model: Any, out: Any) -> Any:
        """Serve GroupAverager.average()."""
        if self.stepper.synchronizes_next() or self._continues_jump:
            return self._average_all(model, out)
        self._check_group_step()
        self._await_rest_to_lend()
        try:
            held = self._memory.hold("average", model, out, local=self.stepper.is_local_next())
        except SecondThread:
            self._refuse_second_thread("average")
        except BaseException:
            self._protocol.abandon_call()
            raise
        if not self.stepper.step(held.sources, held.targets, held.outputs):
            return self._average_all(model, out)
        return held.result

    def average_at(self, sources: Sources, targets: list[int]) -> None:
        """Serve GroupAverager.average_at()."""
        if (
            self.stepper.synchronizes_next()
            or self._continues_jump
            or not self.stepper.step(sources, targets, [])
        ):
            self._average_all_at(sources, targets)

    def await_rest(self, name: str) -> None:
        """Wait for the rest of the last step, where that goes on behind the program's back."""
        if self._protocol.rest_under_way:
            with self._using(Call.STATE, name):
                self.stepper.await_rest(begins_step=False)

    def complete(self, model: Any, out: Any) -> Any:
        """Serve GroupAverager.complete()."""
        with self._using(Call.GROUP_STEP, "complete"):
            self.stepper.await_rest(begins_step=False)
            held = self._memory.hold("complete", model, out, local=True)
            self._make_move(held.sources, held.targets)
            deliver(held.outputs, held.targets)
            return held.result

    def complete_at(self, sources: Sources, targets: list[int]) -> None:
        """Serve GroupAverager.complete_at()."""
        with self._using(Call.GROUP_STEP, "complete"):
            self.stepper.await_rest(begins_step=False)
            self._make_move(sources, targets)

    def synchronize(self, model: Any, out: Any) -> Any:
        """Serve GroupAverager.synchronize()."""
        holding = partial(self._memory.hold, "synchronize", model, out, together=True)
        return self._synchronize("synchronize", holding, self._next).result

    def join(self, model: Any, out: Any) -> Any:
        """Serve GroupAverager.join()."""
        return self._join(lambda: self._memory.hold("join", model, out, together=True)).result

    def join_at(self, sources: Sources, targets: list[int]) -> None:
        """Serve GroupAverager.join_at()."""
        self._join(lambda: Held(None, [], sources, targets))

    def synchronize_at(self, sources: Sources, targets: list[int]) -> None:
        """Serve GroupAverager.synchronize_at()."""
        self._synchronize("synchronize", lambda: Held(None, [], sources, targets), self._next)

    def cuda_copies(self) -> CudaCopies:
        """Serve GroupAverager.cuda_copies()."""
        return self.parts.accelerators.cuda()

    def give_difference(self, leaves: DeviceLeaves) -> None:
        """Serve GroupAverager.give_difference()."""
        with self._using(Call.SYNCHRONIZE, "average"):  # which may have been cut short
            moves = not self.stepper.is_local_next()
            if moves:
                self.parts.accelerators.cuda().wait(leaves)  # what it computes is this rank's own time
                self.stepper.await_rest()
            self._protocol.snapshots.give_difference(leaves, moves)

    def look(self, timeout: object) -> RankTable:
        """Serve GroupAverager.ranks()."""
        self._check_looks("ranks")
        cure = "pass how long to wait for ranks of other hosts, 0 or more"
        return self.parts.looker.look(checked_seconds("ranks", "timeout", timeout, cure))

    def _check_looks(self, name: str) -> None:
        """Refuse to look at memory that may be gone."""
        self._lifecycle.check(Call.STATE, name, self._rank, self._next)
        if MPI.Is_finalized():  # a closed averager may have kept its window until then
            raise RuntimeError(f"{name}: MPI has been finalised; look before that")

    def own_status(self) -> RankStatus:
        """Serve GroupAverager.status."""
        self._check_looks("status")
        return self.parts.looker.look_at_itself()

    def lend(self) -> Any:
        """Serve GroupAverager.buffers()."""
        with self._using(Call.BUFFERS, "buffers"):
            self.stepper.await_rest(begins_step=False)
            self._buffers.settle()
            leaves = self._buffers.lent()
            if leaves is None:
                leaves = self._buffers.besides([]) or self.parts.structure.empty()
                self._copy_newest(leaves, leaves)
            return self.parts.structure.rebuild(self.parts.containers, leaves)

    def close(self) -> None:
        """Serve GroupAverager.close()."""
        if self._lifecycle.state is State.CLOSED:
            return
        failure: BaseException | None = None
        with self._using(Call.CLOSE, "close"):
            try:
                self.stepper.await_rest(begins_step=False)
            except BaseException as error:
                if self._lifecycle.state is State.READY:
                    raise  # of a wait that was cut short: close() may be called again
                failure = error
            if (
                self._lifecycle.state in (State.SYNCHRONIZING, State.MEETING)
                and self._synchronizer.counted_on
            ):
                self._lifecycle.happens(Event.COUNT_ON)  # all have arrived since the wait was cut short
            self._lifecycle.happens(Event.CLOSE)
            self._protocol.row.begin_close(self.parts.window.waiter.time())
            if self._lifecycle.state is State.CLOSING_COUNTED_ON:
                self._do_own_part()
            self.parts.accelerators.close()
            try:
                # Arrays that anyone still has must not lose their memory.
                if not self.parts.window.freed:
                    keeps_window = self._synchronizer.close(self._buffers.in_use())
                    if self.leaving.gather_trace() and not keeps_window:
                        self.parts.looker.free()
            except RankLeft:
                self._lifecycle.happens(Event.ENDED)
                self.leaving.end("closed")
                raise
            if self.parts.window.freed:
                self.leaving.free()
            self._lifecycle.happens(Event.ENDED)
            self.leaving.end("closed")
        if failure is not None:
            raise failure

    def check_process(self, name: str) -> None:
        """Raise RuntimeError in a process that has not made the averager."""
        self._lifecycle.check(Call.STATE, name, self._rank, self._next)

    # How the calls are served.

    @property
    def _continues_jump(self) -> bool:
        """Whether average() is to continue a synchronisation to which it has jumped."""
        return self._synchronizer.cut_short and self._jumped

    def _average_all(self, model: Any, out: Any) -> Any:
        """Serve average() where all ranks average: at the next multiple of the period."""
        holding = partial(self._memory.hold, "average", model, out, together=True)
        return self._at_multiple(holding).result

    def _average_all_at(self, sources: Sources, targets: list[int]) -> None:
        """Serve average_at() likewise."""
        self._at_multiple(lambda: Held(None, [], sources, targets))

    def _at_multiple(self, holding: Callable[[], Held]) -> Held:
        """Synchronise the next multiple of the period; this rank jumps if that is not its next step."""
        if not self._synchronizer.cut_short:
            self._jumped = not self.stepper.synchronizes_next()
        return self._synchronize("average", holding, self.stepper.next_multiple())

    def _synchronize(
        self, name: str, holding: Callable[[], Held], step: int, call: Call = Call.SYNCHRONIZE
    ) -> Held:
        """Perform a synchronisation, or continue one.

        Args:
            holding: returns the memory of the step, or raises what is wrong with the caller's arguments.
            step: to be synchronised; in join() the last one of this rank, which goes to the others' next.
        """
        with self._using(call, name):
            self._check_continues(name)
            self.stepper.await_rest()
            joined = call is Call.JOIN
            if self._synchronizer.cut_short:
                step = self._synchronizer.step
            check_countable(name, step)
            self._lifecycle.happens(Event.BEGIN)
            started = self._protocol.begin_synchronization(joined)
            began = self._protocol.row.began  # earlier, if this call has waited before
            found: Exception | None = None
            held: Held | None = None
            try:
                self._buffers.settle()
                try:
                    held = holding()
                    self._pointers.hold(held.sources, held.targets)
                except Exception as error:
                    found = error  # which all ranks will raise
                waited = self._synchronizer.synchronize(
                    name, step, found, joined, calls=name != "synchronize"
                )
            except BaseException as error:
                self._protocol.abandon_call(self._synchronizer.cut_short)
                self._note_failure(error)
                raise
            finally:
                self._pointers.release()
            assert held is not None  # or all ranks would have refused together
            skipped = self._synchronizer.step - self._next
            left = self._protocol.synchronized(self._synchronizer.step)
            try:
                deliver(held.outputs, held.targets)
            finally:
                if self._lifecycle.state in IN_JOIN:
                    self._met, self._all_met = held.targets, self._synchronizer.all_joined
                self._lifecycle.happens(Event.SYNCHRONIZED)
                # A wait for the call that has led here is a part of the synchronisation.
                before = self._protocol.waited_for_call if name == "average" and self._jumped else 0.0
                ended = self._protocol.end_synchronization(before + waited)
                seconds = ended - started
                if self.parts.tracer is not None:
                    self.parts.tracer.add_synchronization(
                        self._synchronizer.step,
                        began,
                        self._synchronizer.came,
                        left,
                        ended,
                        started - began + waited,
                        skipped,
                        self._synchronizer.bytes_moved,
                    )
                self.synchronizations.add(
                    Synchronization(
                        before + seconds, before + waited, skipped, *self._synchronizer.bytes_moved
                    )
                )
        return held

    def _check_continues(self, name: str) -> None:
        """Break the averager if an exception has left a synchronisation where it can't be continued."""
        if self._lifecycle.state in HALFWAY and not self._synchronizer.cut_short:
            error = RuntimeError(
                f"{name}: the synchronisation of step {self._synchronizer.step} was left half done"
            )
            self._lifecycle.happens(Event.BREAK, error)
            raise error

    def _note_failure(self, error: BaseException) -> None:
        """Change the state after a synchronisation that has raised."""
        if self._synchronizer.counted_on:
            self._lifecycle.happens(Event.COUNT_ON)
        elif self._synchronizer.refused:
            self._lifecycle.happens(Event.REFUSED)
        elif not self._synchronizer.cut_short:
            self._lifecycle.happens(Event.BREAK, error)

    def _join(self, holding: Callable[[], Held]) -> Held:
        """Take part in the synchronisations of the others until all have joined.

        Whatever is raised before the last mean is returned leaves the lifecycle in join(), so that the next
        call goes on from there.

        Args:
            holding: returns the caller's memory, or raises what is wrong with the arguments.
        """
        held: Held | None = None
        while held is None:
            with self._using(Call.JOIN, "join"):
                self._check_continues("join")
                if self._lifecycle.state not in IN_JOIN:  # join() begins
                    self._met, self._all_met = None, False
                self._lifecycle.happens(Event.JOIN)
                if self._all_met:
                    held = self._take_mean(holding)
                    continue
            self._synchronize(
                "join", partial(self._memory_in_join, holding), self._protocol.last_step, Call.JOIN
            )
        self._lifecycle.happens(Event.ALL_JOINED)
        self._met = None
        return held

    def _memory_in_join(self, holding: Callable[[], Held]) -> Held:
        """Return the memory of a synchronisation in join(): the mean is kept until the caller can have it."""
        sources = holding().sources if self._met is None else self._met
        if isinstance(sources, DeviceLeaves):
            sources = self.parts.accelerators.fetched(sources)
        return Held(None, [], sources, self.parts.structure.empty())

    def _take_mean(self, holding: Callable[[], Held]) -> Held:
        """Return the caller's memory with the mean of the last synchronisation."""
        held = holding()
        self._copy_newest(held.sources, held.targets)
        deliver(held.outputs, held.targets)
        return held

    def _make_move(self, sources: Sources, targets: Targets) -> None:
        """Write a model, with what is pending, into `targets`."""
        self._pointers.hold(sources, targets)
        try:
            self._protocol.make_move(self._pointers)
        finally:
            self._pointers.release()

    def _await_rest_to_lend(self) -> None:
        """Wait for the rest of the last step if memory is lent for the next, which looks at the window."""
        if self._buffers.used and self._protocol.rest_under_way and self._busy.acquire(blocking=False):
            try:
                self.stepper.await_rest()
            finally:
                self._busy.release()

    def _copy_newest(self, sources: Sources, targets: Targets) -> None:
        """Copy this rank's newest snapshot into `targets`; nothing is read from `sources`."""
        self._pointers.hold(sources, targets)
        try:
            self._protocol.snapshots.restore_all(self._pointers)
        finally:
            self._pointers.release()

    def _check_group(self) -> None:
        """Raise if this step's group waits for a rank that will not come; note how many have joined."""
        step = self._protocol.step_under_way
        group = self._group(step)
        self._synchronizer.check_group("average", step, group, self._protocol.waits_for_record())
        self._protocol.expect_fewer(self._synchronizer.count_joined(group))

    def _do_own_part(self) -> None:
        """Do this rank's part in a synchronisation that was cut short; nobody gets its mean here."""
        unused = self.parts.structure.empty()
        self._pointers.hold(unused, unused)
        try:
            self._synchronizer.synchronize("close", self._synchronizer.step, None)
        except (StepMismatch, RankLeft) as error:
            # A rank has closed or left without having begun it, so no sums are under way.
            self._lifecycle.happens(Event.BREAK, error)
        else:
            self._lifecycle.happens(Event.SYNCHRONIZED)
        finally:
            self._pointers.release()

    def _check_group_step(self) -> None:
        """Refuse a group step that can't be served."""
        if self._lifecycle.state is State.READY and not MPI.Is_finalized():
            return
        if self._lifecycle.state in (*HALFWAY, State.JOINED) and self._busy.locked():
            self._refuse_second_thread("average")  # it is in the synchronisation
        self._lifecycle.check(Call.GROUP_STEP, "average", self._rank, self._next)

    def _refuse_second_thread(self, name: str) -> NoReturn:
        raise RuntimeError(
            f"{name}: rank {self._rank} uses this averager in two threads at once; use it from one at a time"
        )

    def _using(self, call: Call, name: str) -> Guard:
        """Serve any call but a group step: refuse what can't be served, let nothing interrupt the rest."""
        self._lifecycle.check(call, name, self._rank, self._next)
        refuse = partial(self._refuse_second_thread, name)
        return Guard(self.parts.interrupts.deferred(), self._busy, self._floats, refuse)

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
        number = step // self.parts.options.group_period  # of the step among the group steps
        return self.parts.groups[(number - 1) % len(self.parts.groups)]
