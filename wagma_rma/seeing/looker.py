"""Looks at the rows of all ranks, from one of them."""

import threading
from collections.abc import Sequence

from wagma_rma.protocol.layout import Layout
from wagma_rma.protocol.row import BYTES
from wagma_rma.protocol.row import Row as OwnRow
from wagma_rma.seeing.ranks import RankStatus, RankTable, Seen, table
from wagma_rma.seeing.rows import Row, read_row
from wagma_rma.windows.remote import RemoteWindow
from wagma_rma.windows.shared import SharedWindow

TRIES = 5  # to read a row that its rank is writing
WAIT = 1.0  # seconds, for ranks of other hosts
COMPARED = 32  # ranks, about, with which one that others wait for is compared


class Looker:
    """Looks at all ranks, by any thread, at any time.

    Args:
        hosts: the number of each rank's host.
        own: this rank's row.
    """

    def __init__(
        self, window: SharedWindow | RemoteWindow, layout: Layout, hosts: Sequence[int], own: OwnRow
    ) -> None:
        self._window = window
        self._place = layout.row
        self._near = [host == hosts[window.rank] for host in hosts]
        self._own = own
        self._last: list[Row | None] = [None] * len(hosts)
        self._lock = threading.RLock()  # a signal handler may look, too
        self._sees_far = True

    def look(self, seconds: float = WAIT) -> RankTable:
        """Return the table of all ranks. Local.

        Args:
            seconds: to wait for ranks of other hosts, at most.

        Raises:
            RuntimeError: the averager is closed.
        """
        with self._lock:
            self._check_open("ranks")
            return self._table(range(len(self._near)), seconds)

    def look_at_itself(self) -> RankStatus:
        """Return what this rank tells, compared with no other one. Local.

        Raises:
            RuntimeError: the averager is closed.
        """
        rank = self._window.rank
        with self._lock:
            self._check_open("status")
            self._read([rank], 0.0)
            return table([Seen(rank, self._last[rank], self._window.waiter.time())])[0]

    def describe(self, ranks: list[int]) -> list[str]:
        """Return what there is to say of some ranks that others wait for; "" where that can't be told."""
        # All ranks may wait for the same one: each looks at some others, for comparison.
        count = len(self._near)
        others = range(0, count, max(1, count // COMPARED))
        chosen = sorted({*ranks, *others})
        try:
            with self._lock:
                self._check_open("ranks")
                seen = {status.rank: status for status in self._table(chosen, WAIT)}
        except Exception:  # a warning must not become an error
            return [""] * len(ranks)
        return [str(seen[rank]) for rank in ranks]

    def end_looks(self) -> None:
        """Look at ranks of other hosts no more: MPI may end, and their windows."""
        with self._lock:
            self._sees_far = False
            if isinstance(self._window, RemoteWindow) and not self._window.freed:
                self._window.stop_looks()

    def free(self) -> None:
        """Free the window, at which nobody looks meanwhile. Collective."""
        with self._lock:
            self._own.forget_window()
            self._window.free()

    def _table(self, ranks: Sequence[int], seconds: float) -> RankTable:
        """Look at some ranks."""
        answers = self._read([rank for rank in ranks if self._near[rank] or self._sees_far], seconds)
        now = self._window.waiter.time()
        return table(
            [
                Seen(rank, self._last[rank], self._now_at(rank, now), rank in answers, self._near[rank])
                for rank in ranks
            ]
        )

    def _check_open(self, operation: str) -> None:
        if self._window.freed:
            raise RuntimeError(f"{operation}: this averager is closed; make a new one")

    def _read(self, missing: list[int], seconds: float) -> set[int]:
        """Read the rows of some ranks into `_last`; return which of them have answered."""
        answers = set()
        for _ in range(TRIES):
            rows = self._window.look(missing, self._place, BYTES, seconds)
            for rank, found in zip(missing, rows, strict=True):
                if found is not None and (row := read_row(found)) is not None:
                    self._last[rank] = row
                    answers.add(rank)
            # What a rank is writing is whole a moment later.
            missing = [
                rank for rank, found in zip(missing, rows, strict=True) if found and rank not in answers
            ]
            if not missing:
                break
        return answers

    def _now_at(self, rank: int, now: float) -> float | None:
        """Return the present time on the clock of a rank's host.

        Other hosts have other clocks; all ranks have left the same synchronisation at about the same time.
        """
        row = self._last[rank]
        if self._near[rank] or row is None:
            return now
        for step, ended in self._own.synchronizations:
            if step == row.synchronized_step:
                return now - ended + row.synchronized
        return None
