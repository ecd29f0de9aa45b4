"""What tests look at, and replace, inside an averager: the one place that knows its private names."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wagma_rma import GroupAverager
from wagma_rma.protocol import synchronization
from wagma_rma.windows.verbs import Verbs

PIN = 1 << 44  # what a pin adds to the `published` word


class Probe:
    """A look into one averager. Local, unless it says otherwise.

    Args:
        averager: a GroupAverager, or a PytreeAverager, of which it is that of numpy that is looked into.
    """

    def __init__(self, averager: Any) -> None:
        self._averager = getattr(averager, "_averager", averager)

    # The window.

    @property
    def nbytes(self) -> int:
        """The bytes of this rank's part of the window."""
        return int(self._averager._layout.nbytes)

    @property
    def chunks(self) -> int:
        """The chunks of a model."""
        return int(self._averager._layout.chunks)

    @property
    def hosts(self) -> tuple[int, ...]:
        """The number of each rank's host."""
        return tuple(self._averager._hosts)

    @property
    def is_freed(self) -> bool:
        """Whether close() has given back the window and the communicator."""
        return not self._averager._comm

    def pin(self, rank: int) -> None:
        """Pin the newest snapshot of a rank, as one that reads it does."""
        self._words.fetch_add(rank, self._averager._layout.published, PIN)

    def unpin(self, rank: int, slot: int) -> None:
        """Give back a pin on a snapshot of a rank."""
        self._words.fetch_add(rank, self._averager._layout.retired + 8 * slot, (1 << 64) - 1)

    @property
    def _words(self) -> Verbs:
        return Verbs(self._averager._window)

    # Snapshots.

    @property
    def slots(self) -> range:
        """The slots of this rank's snapshots."""
        return range(self._averager._layout.slots)

    def pins(self) -> list[int]:
        """Return the pins on each of this rank's snapshots that have been taken and not given back."""
        return list(self._averager._protocol.snapshots.pins())

    def address(self, slot: int) -> int:
        """Return where a snapshot lies."""
        return int(self._averager._protocol.snapshots.address(slot))

    def lent_slots(self) -> list[int]:
        """Return the slots that are lent to the caller."""
        return [slot for slot in self.slots if self._averager._protocol.snapshots.is_lent(slot)]

    # The protocol.

    def unfinished(self) -> list[int]:
        """Return the steps of this rank's records whose chunks are not all counted."""
        return list(self._averager._protocol.unfinished())

    def published(self, ranks: Sequence[int]) -> list[int]:
        """Return the step of each rank's newest snapshot."""
        return list(self._averager._protocol.published(ranks))

    def has_arrived(self, rank: int, step: int, attempt: int = 0) -> bool:
        """Say whether a rank has come to synchronise a step, or has closed."""
        arrived = synchronization._entered(step, attempt, synchronization.ARRIVED)
        return bool(self._averager._protocol.entered([rank])[0] >= arrived)

    def is_closed(self, rank: int) -> bool:
        """Say whether a rank has come to close its averager."""
        return bool(self._averager._protocol.entered([rank])[0] >= synchronization.CLOSED)

    def missing(self) -> list[int] | None:
        """Return the ranks whose arrival a synchronisation waits for, or None. Any thread may be in it."""
        test = self._averager._synchronizer._test
        return test[0].missing if test and isinstance(test[0], synchronization.EveryRank) else None

    def check_group(self, step: int, group: tuple[int, ...]) -> None:
        """Raise if a member of a group will not come to a step, as a wait for its quorum does."""
        self._averager._synchronizer.check_group("average", step, group)

    # Replacements.

    def replace_communicator(self, replacement: Callable[[Any], Any]) -> None:
        """Have synchronisations use another communicator, made from the averager's own."""
        self._averager._synchronizer._comm = replacement(self._averager._comm)

    def replace_synchronized_protocol(self, replacement: Callable[[Any], Any]) -> None:
        """Have synchronisations use another protocol, made from the averager's own."""
        self._averager._synchronizer._protocol = replacement(self._averager._protocol)

    @contextmanager
    def replaced_buffers(self, replacement: Callable[[Any], Any]) -> Iterator[None]:
        """Have the averager use other buffers, made from its own, for a while."""
        usual = self._averager._buffers
        self._averager._buffers = replacement(usual)
        try:
            yield
        finally:
            self._averager._buffers = usual

    @contextmanager
    def replaced_snapshots(self, replacement: Callable[[Any], Any]) -> Iterator[None]:
        """Have the averager's buffers use other snapshots, made from its own, for a while."""
        buffers = self._averager._buffers
        usual = buffers._snapshots
        buffers._snapshots = replacement(usual)
        try:
            yield
        finally:
            buffers._snapshots = usual

    def before(self, method: str, told: Callable[..., object]) -> None:
        """From now on have `told` called, with its arguments, before each call of a method."""
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

    maker: Any = sys.modules[GroupAverager.__module__]
    usual, maker.Protocol = maker.Protocol, protocol
    try:
        yield
    finally:
        maker.Protocol = usual


def waits_for_communicator() -> bool:
    """Say whether the main thread has begun to copy the communicator of an averager to be."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return frame.f_code is GroupAverager.__init__.__code__ and "request" in frame.f_locals
