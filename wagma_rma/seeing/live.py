"""python -m wagma_rma watch: the table of a run's ranks on this host, from another terminal."""

import argparse
import curses
import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from wagma_rma.seeing.pages import Page, find_pages, pages_of
from wagma_rma.seeing.ranks import CLOSED, GONE, RankTable, Seen, table
from wagma_rma.waiting.processes import has_ended

if TYPE_CHECKING:
    from curses import window as Screen

EVERY = 1.0  # seconds
FOUND_NOTHING = 2  # the exit code


class Run(NamedTuple):
    """The ranks of one averager on this host, by number."""

    identity: str
    pages: dict[int, Page]

    @property
    def heading(self) -> str:
        """What is watched."""
        page = next(iter(self.pages.values()))
        some = f"{len(self.pages)} of {page.ranks} ranks"
        where = f", host {page.host} of {page.hosts}" if page.hosts > 1 else ""
        return f"{page.program or 'a program'}: {some}{where}"

    @property
    def pids(self) -> list[int]:
        """The processes of the ranks."""
        return [page.pid for page in self.pages.values()]

    @property
    def newest(self) -> float:
        """When one of the ranks last called its averager, or came back from it."""
        return max(max(page.row.began, page.row.ended) for page in self.pages.values())


def grouped(pages: Iterable[Page]) -> list[Run]:
    """Return the runs that pages belong to, the one with the newest call first."""
    found: dict[str, dict[int, Page]] = {}
    for page in pages:
        found.setdefault(page.identity, {})[page.rank] = page
    runs = [Run(identity, dict(sorted(pages.items()))) for identity, pages in found.items()]
    return sorted(runs, key=lambda run: -run.newest)


def choose(runs: list[Run], pid: int | None) -> Run:
    """Return the run that is to be watched.

    Args:
        pid: a process of it; None if there is only one.

    Raises:
        LookupError: says what there is instead.
    """
    own = [run for run in runs if pid is None or pid in run.pids]
    if not own:
        others = f"; there are {_named(runs)}" if runs else ""
        if pid is None:
            raise LookupError(f"watch: no process of yours on this host has an averager that is open{others}")
        raise LookupError(f"watch: process {pid} is not yours, or has no averager that is open{others}")
    # Averagers of one program have the same processes: the one that was called last.
    if pid is None and len({frozenset(run.pids) for run in own}) > 1:
        raise LookupError(f"watch: several programs run here; pass a process of one: {_named(own)}")
    return own[0]


def _named(runs: list[Run]) -> str:
    return ", ".join(f"{run.pids[0]} ({run.heading})" for run in runs)


class Watched:
    """A run that is watched: what was seen of its ranks stays, also when they have ended."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._gone: set[int] = set()  # ranks whose pages were gone at the last look

    def look(self) -> bool:
        """Look at all ranks again; return whether one of them is still in the run."""
        pages = self.run.pages
        # All processes only where ranks of this host may have begun since.
        processes = {page.pid for page in pages.values()}
        everybody = len(pages) == next(iter(pages.values())).ranks
        found = itertools.chain.from_iterable(map(pages_of, processes)) if everybody else find_pages()
        seen = {page.rank: page for page in found if page.identity == self.run.identity}
        gone = {rank for rank in pages if rank not in seen}
        for rank in gone & self._gone:
            page = pages[rank]
            if page.row.activity not in GONE and not has_ended(page.row.process):
                # Its page is gone, and the process is not: it has closed its averager, or left it.
                pages[rank] = page._replace(row=dataclasses.replace(page.row, activity=CLOSED))
        self._gone = gone
        pages.update(seen)
        rows = [page.row for page in pages.values()]
        return any(row.activity not in GONE and not has_ended(row.process) for row in rows)

    def table(self) -> RankTable:
        """Return the table as it is now."""
        now = time.monotonic()
        return table([Seen(rank, page.row, now) for rank, page in sorted(self.run.pages.items())])

    def as_json(self) -> str:
        """Return the table as one line of JSON."""
        ranks = [rank.as_dict() for rank in self.table()]
        return json.dumps({"run": self.run.identity, "program": self.run.heading, "ranks": ranks})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "pid", type=int, nargs="?", help="a process of the run; not needed if there is only one"
    )
    parser.add_argument("--once", action="store_true", help="print the table once, and end")
    parser.add_argument("--json", action="store_true", help="print a line of JSON each time")
    parser.add_argument("--every", type=float, default=EVERY, help="seconds between two looks (%(default)s)")


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    try:
        watched = Watched(choose(grouped(find_pages()), options.pid))
    except LookupError as error:
        print(error, file=sys.stderr)
        return FOUND_NOTHING
    if options.json:
        for _ in _looks(watched, options):
            print(watched.as_json(), flush=True)
    elif options.once or not sys.stdout.isatty():
        for _ in _looks(watched, options):
            print(watched.run.heading, watched.table(), sep="\n", flush=True)
    else:
        curses.wrapper(_show, watched, options.every)
        print(watched.run.heading, watched.table(), sep="\n")
    return 0


def _looks(watched: Watched, options: argparse.Namespace) -> Iterator[None]:
    """Yield once, or again and again until the run ends."""
    goes_on = watched.look()
    yield
    while goes_on and not options.once:
        time.sleep(options.every)
        goes_on = watched.look()
        yield


def _show(screen: "Screen", watched: Watched, every: float) -> None:
    """Show the table on a terminal until the user types q, or the run ends."""
    curses.curs_set(0)
    screen.timeout(max(1, int(every * 1000)))
    goes_on = True
    while goes_on:
        height, width = screen.getmaxyx()
        screen.erase()
        for place, line in enumerate([watched.run.heading, *watched.table().lines(height - 2)]):
            screen.addnstr(place, 0, line, width - 1, curses.A_BOLD if place == 1 else curses.A_NORMAL)
        screen.addnstr(height - 1, 0, "q: quit", width - 1)
        screen.refresh()
        if screen.getch() in (ord("q"), ord("Q")):
            return
        goes_on = watched.look()
