"""What tests look at, and replace, inside an averager: the one place that knows its private names."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wagma_rma import lifecycle, opening
from wagma_rma import report as reports
from wagma_rma.opening import Parts
from wagma_rma.protocol import words
from wagma_rma.report import Report
from wagma_rma.windows.verbs import Verbs

PIN = 1 << words.PINS_SHIFT  # what a pin adds to the `published` word


class Probe:
    """A look into one averager. Local, unless it says otherwise.

    Args:
        averager: a GroupAverager, or a PytreeAverager, whose numpy averager it then is.
    """

    def __init__(self, averager: Any) -> None:
        self._averager = getattr(averager, "_averager", averager)
        self._steps = self._averager._steps
        self._parts: Parts = self._steps.parts

    # The window.

    @property
    def nbytes(self) -> int:
        """The bytes of this rank's part of the window."""
        return int(self._parts.layout.nbytes)

    @property
    def chunks(self) -> int:
        """The chunks of a model."""
        return int(self._parts.layout.chunks)

    @property
    def hosts(self) -> tuple[int, ...]:
        """The number of each rank's host."""
        return tuple(self._parts.hosts)

    @property
    def is_freed(self) -> bool:
        """Whether close() has given back the window and the communicator."""
        return not self._parts.comm

    def pin(self, rank: int) -> None:
        """Pin the newest snapshot of a rank, as one that reads it does."""
        self._words.fetch_add(rank, self._parts.layout.published, PIN)

    def unpin(self, rank: int, slot: int) -> None:
        """Give back a pin on a snapshot of a rank."""
        self._words.fetch_add(rank, self._parts.layout.retired + 8 * slot, (1 << 64) - 1)

    @property
    def _words(self) -> Verbs:
        return Verbs(self._parts.window)

    @property
    def in_join(self) -> bool:
        """Whether join() has begun and has not returned."""
        return self._steps._lifecycle.state in lifecycle.IN_JOIN

    # Snapshots.

    @property
    def slots(self) -> range:
        """The slots of this rank's snapshots."""
        return range(self._parts.layout.slots)

    def pins(self) -> list[int]:
        """Return the pins on each of this rank's snapshots that have been taken and not given back."""
        return list(self._parts.protocol.snapshots.pins())

    def address(self, slot: int) -> int:
        """Return where a snapshot lies."""
        return int(self._parts.protocol.snapshots.address(slot))

    def lent_slots(self) -> list[int]:
        """Return the slots that are lent to the caller."""
        return [slot for slot in self.slots if self._parts.protocol.snapshots.is_lent(slot)]

    # The protocol.

    def unfinished(self) -> list[int]:
        """Return the steps of this rank's records whose chunks are not all counted."""
        return list(self._parts.protocol.unfinished())

    def published(self, ranks: Sequence[int]) -> list[int]:
        """Return the step of each rank's newest snapshot."""
        return list(self._parts.announcements.published(ranks))

    def has_arrived(self, rank: int, step: int, attempt: int = 0) -> bool:
        """Return whether a rank has arrived to synchronise a step, or has closed."""
        arrived = words.pack_entered(step, attempt, words.ARRIVED)
        return bool(self._parts.announcements.entered([rank])[0] >= arrived)

    def is_closed(self, rank: int) -> bool:
        """Return whether a rank has called close()."""
        return bool(self._parts.announcements.entered([rank])[0] >= words.CLOSED)

    def is_called(self, step: int) -> bool:
        """Return whether a quorum has called this rank to a step."""
        return self._parts.synchronizer._barrier.called() >= step

    def awaits_arrivals(self) -> bool:
        """Return whether a synchronisation waits for ranks to arrive. Any thread may be in it."""
        return self._parts.synchronizer.awaits_arrivals

    def group_report(self) -> Report:
        """Return the report of the last step that is over and no synchronisation."""
        return reports.of_group_step(self._parts.protocol.report())

    def is_busy(self) -> bool:
        """Return whether a thread is in a step, or waits for the rest of one."""
        return bool(self._steps._busy.locked())

    def check_group(self, step: int, group: tuple[int, ...]) -> None:
        """Raise if a member of a group will not come to a step, as a wait for its quorum does."""
        self._parts.synchronizer.check_group("average", step, group)

    # Replacements.

    def replace_barrier(self, replacement: Callable[[Any], Any]) -> None:
        """Have synchronisations use another barrier, made from the averager's own."""
        self._parts.synchronizer._barrier = replacement(self._parts.synchronizer._barrier)

    def replace_reduction(self, replacement: Callable[[Any], Any]) -> None:
        """Have synchronisations use another reduction, made from the averager's own."""
        self._parts.synchronizer._reduction = replacement(self._parts.synchronizer._reduction)

    @contextmanager
    def replaced_buffers(self, replacement: Callable[[Any], Any]) -> Iterator[None]:
        """Have the averager use other buffers, made from its own, for a while."""
        usual = self._parts.buffers
        self._use_buffers(replacement(usual))
        try:
            yield
        finally:
            self._use_buffers(usual)

    def _use_buffers(self, buffers: Any) -> None:
        self._steps._buffers = self._steps.stepper.buffers = self._parts.memory._buffers = buffers

    @contextmanager
    def replaced_snapshots(self, replacement: Callable[[Any], Any]) -> Iterator[None]:
        """Have the averager's buffers use other snapshots, made from its own, for a while."""
        buffers = self._parts.buffers
        usual = buffers._snapshots
        buffers._snapshots = replacement(usual)
        try:
            yield
        finally:
            buffers._snapshots = usual

    def before(self, method: str, told: Callable[..., object]) -> None:
        """From now on have `told` called before each call of a method, with the arguments of that call."""
        usual = getattr(self._averager, method)

        def telling(*args: Any) -> Any:
            told(*args)
            return usual(*args)

        setattr(self._averager, method, telling)


@contextmanager
def no_memory_for_a_protocol() -> Iterator[None]:
    """Have an averager that is made meanwhile find no private memory for its protocol."""

    def protocol(*_: object) -> None:
        raise MemoryError("Protocol: no memory left")

    module: Any = opening
    usual = module.Protocol
    module.Protocol = protocol
    try:
        yield
    finally:
        module.Protocol = usual


def waits_for_communicator() -> bool:
    """Return whether the main thread has begun to copy the communicator of an averager that it makes."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return frame.f_code is opening.open_averager.__code__ and "request" in frame.f_locals
