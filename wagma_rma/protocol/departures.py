"""Ranks that depart from the steps of a run: by join(), by an error, by the end of their program or process.

A rank tells its departure in a word, with a note that says why. A process that was killed can't: the ranks of
its host find that it has ended. No rank waits for a rank that has left. A rank that would have to wait
raises RankLeft and departs itself, so that ranks of other hosts that wait for this rank learn of it too. MPI
can't be finalised after a death, so a rank that has found one ends the job in MPI_Finalize.
"""

from collections.abc import Sequence

from wagma_rma.mpi.finalize_hook import abort_in_finalize
from wagma_rma.protocol.announcements import Announcements
from wagma_rma.protocol.words import (
    BROKEN,
    JOINED,
    LEFT,
    departure_manner,
    departure_step,
    pack_departure,
)
from wagma_rma.waiting.processes import has_ended, own_process, process_id
from wagma_rma.waiting.waiter import Waiter

LOOK_EVERY = 0.4  # seconds from one look at the processes of this host to the next


class RankLeft(RuntimeError):
    """A rank has left the run, so a wait for it would never end; the message says after which step, and why.

    Any call that waits for that rank, or would have to, raises this. The call's averager can't go on either:
    end the program, and start it again from a checkpoint.

    Attributes:
        rank: which rank has left.
        step: the last step that it is known to have reached.
    """

    def __init__(self, message: str, rank: int, step: int) -> None:
        super().__init__(message)
        self.rank = rank
        self.step = step


class Departures:
    """Who has departed, as one rank knows it; and its own departure.

    Args:
        rank: this rank.
        hosts: the number of each rank's host.
        waiter: the clock.
    """

    def __init__(self, rank: int, hosts: Sequence[int], announcements: Announcements, waiter: Waiter) -> None:
        self._rank = rank
        self._hosts = hosts
        self._words = announcements
        self._waiter = waiter
        self._manner = 0
        self._untold: tuple[int, str] | None = None  # the word and the note that are still to be announced
        self._next_look = 0.0
        announcements.announce_process(own_process())

    @property
    def for_good(self) -> bool:
        """Whether this rank has departed, and not by join()."""
        return self._manner >= BROKEN

    @property
    def has_left(self) -> bool:
        """Whether this rank has told that it has left."""
        return self._manner == LEFT

    def join(self, step: int) -> None:
        """Tell that this rank does no group steps after `step`, but still synchronises. Local."""
        self._words.announce_departure(pack_departure(JOINED, step))

    def leave(self, manner: int, step: int, why: BaseException | str) -> None:
        """Tell that this rank goes no further than `step`. Local.

        Args:
            manner: BROKEN or LEFT.
            why: for the note; the first one stays.
        """
        if manner > self._manner:
            note = "" if self.for_good else _note(why)
            if self._untold:
                _, note = self._untold
            self._manner, self._untold = manner, (pack_departure(manner, step), note)
            self.tell()

    def tell(self) -> None:
        """Tell what leave() could not, because an exception ended it. Local."""
        if self._untold:
            self._words.announce_departure(*self._untold)
            self._untold = None

    def joined(self, ranks: Sequence[int], since: int) -> list[int]:
        """Return the last group step of each of some ranks that has called join(), or -1.

        Args:
            since: the last synchronisation; an earlier call of join() is over.
        """
        return [
            departure_step(word) if departure_manner(word) == JOINED and departure_step(word) >= since else -1
            for word in self._words.departures(ranks)
        ]

    def have_departed(self, ranks: Sequence[int]) -> bool:
        """Return whether one of some ranks has told that it has left, or can't go on."""
        return any(departure_manner(word) >= BROKEN for word in self._words.departures(ranks))

    def check(self, operation: str, waits: str, ranks: Sequence[int]) -> None:
        """Raise RankLeft if one of some ranks has left, or can't go on.

        Args:
            operation, waits: for the message: the call, and what this rank waits for, "closes" for instance.
        """
        self._check_words(operation, waits, ranks)
        if self._waiter.time() < self._next_look:
            return
        self._next_look = self._waiter.time() + LOOK_EVERY
        near = [rank for rank in ranks if self._hosts[rank] == self._hosts[self._rank]]
        for rank, process in zip(near, self._words.processes(near), strict=True):
            if has_ended(process):
                self._check_words(operation, waits, [rank])  # it may have told its departure before
                abort_in_finalize()
                died = f"died: its process {process_id(process)} has ended"
                raise self._left(operation, waits, rank, died)

    def _check_words(self, operation: str, waits: str, ranks: Sequence[int]) -> None:
        found = []
        for rank, word in zip(ranks, self._words.departures(ranks), strict=True):
            manner = departure_manner(word)
            if manner >= BROKEN:
                how = "left" if manner == LEFT else "stopped after an error"
                found.append((rank, how, self._words.note(rank)))
        if found:
            # The first cause: a rank whose note begins with RankLeft has departed because of another one.
            rank, how, note = min(found, key=lambda departed: departed[2].startswith(RankLeft.__name__))
            raise self._left(operation, waits, rank, f"{how} ({note})")

    def _left(self, operation: str, waits: str, rank: int, how: str) -> RankLeft:
        [step] = self._words.reached([rank])
        return RankLeft(
            f"{operation}: rank {rank} has {how}, at step {step}, while rank {self._rank} {waits}; end this "
            "run, and start it again from a checkpoint",
            rank,
            step,
        )


def _note(why: BaseException | str) -> str:
    """Return the text that tells other ranks why this one departs."""
    if isinstance(why, str):
        return why
    type_name = type(why).__name__
    if isinstance(why, RankLeft):
        return f"{type_name}: rank {why.rank} had left"
    return f"{type_name}: {why}" if str(why) else type_name
