"""Traces: what each rank did and when, as a file of trace events that Perfetto and Chrome show.

Source of the format: Trace Event Format (Google), which ui.perfetto.dev and chrome://tracing read. Times in
the file are microseconds; each rank is a thread of the process that stands for its host.
"""

import contextlib
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from wagma_rma.protocol.events import FIELDS, Events
from wagma_rma.seeing.clocks import SAME, Alignment

# By the numbers of report.Outcome.
OUTCOMES = FRESH, LATE, MISSED, SYNCHRONIZED, LOCAL = ("FRESH", "LATE", "MISSED", "SYNCHRONIZED", "LOCAL")
# Slices that are calls of the averager.
CALLS = {name: f"average: {name}" for name in (FRESH, LATE, MISSED)} | {
    SYNCHRONIZED: "synchronize",
    LOCAL: "local",
}

_FLOATS = ("began", "published", "opened", "exchanged", "ended", "waited")
_EVENT = np.dtype([(name, np.float64 if name in _FLOATS else np.int64) for name in FIELDS])


class About(NamedTuple):
    """What a trace says of its run.

    Attributes:
        ranks: how many.
        hosts: the number of each rank's host.
        names: the name of each host.
        options: of the averager.
    """

    ranks: int
    hosts: tuple[int, ...]
    names: tuple[str, ...]
    options: dict[str, Any]


def path_of_rank(path: Path, rank: int) -> Path:
    """Return where a rank writes its own part of a trace: run.rank3.json for run.json."""
    name, dot, endings = path.name.partition(".")
    return path.with_name(f"{name}.rank{rank}{dot}{endings}")


class Recorded(NamedTuple):
    """The steps of one rank, the oldest first.

    Attributes:
        events: of the dtype _EVENT, on this rank's clock.
        ages: of the contributions of each, an array [steps, group size].
        left_out: older steps that were not kept.
    """

    events: npt.NDArray[Any]
    ages: npt.NDArray[np.uint32]
    left_out: int


def recorded(events: Events, group_size: int) -> Recorded:
    """Return what a rank has recorded."""
    steps, ages = events.kept()
    found = np.frombuffer(steps, _EVENT)
    of_members = np.frombuffer(ages, np.uint32).reshape(len(found), group_size)
    return Recorded(found, of_members, events.count - len(found))


def spans(
    steps: Recorded,
    rank: int,
    host: int,
    group: Callable[[int], tuple[int, ...]],
    alignment: Alignment = SAME,
    behind: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the trace events of a rank's steps.

    A step is a slice of its track with slices inside it, and what comes before it is computing. Where the
    exchange went on behind the program's back, it has a track of its own.

    Args:
        group: returns the members of the group at a step.
        behind: the number of that track; None: exchanges are part of calls.
    """
    times = {name: alignment.on_first(steps.events[name]) * 1e6 for name in _FLOATS if name != "waited"}
    computed_since: float | None = None
    # With overlap a LOCAL step ends before the group step is over that has begun before it.
    for place in np.argsort(steps.events["began"], kind="stable"):
        event = steps.events[place]
        began, published, opened, exchanged, ended = (
            float(times[name][place]) for name in ("began", "published", "opened", "exchanged", "ended")
        )
        step, outcome = int(event["step"]), OUTCOMES[event["outcome"]]
        track = {"ph": "X", "pid": host, "tid": rank}

        def slice_of(
            name: str, begin: float, end: float, track: dict[str, Any], **more: Any
        ) -> dict[str, Any]:
            return {
                "name": name,
                **track,
                "ts": round(begin, 3),
                "dur": round(max(0.0, end - begin), 3),
                **more,
            }

        if computed_since is not None and began > computed_since:
            yield slice_of("compute", computed_since, began, track, args={"step": step})
        computed_since = ended
        arguments: dict[str, Any] = {
            "step": step,
            "outcome": outcome,
            "waited_us": round(float(event["waited"]) * 1e6, 3),
        }
        if outcome == LOCAL:
            yield slice_of(CALLS[outcome], began, ended, track, args=arguments)
            continue
        arguments["bytes"] = int(event["bytes_read"])
        arguments["bytes_over_network"] = int(event["bytes_over_network"])
        if outcome == SYNCHRONIZED:
            arguments["skipped"] = int(event["skipped"])
            yield slice_of(CALLS[outcome], began, ended, track, args=arguments)
            if event["waited"]:
                yield slice_of("wait", began, opened, track)
            continue
        members = int(event["members"])
        arguments["source_step"] = int(event["source_step"])
        arguments["group"] = list(group(int(event["source_step"])))
        arguments["ages"] = steps.ages[place, :members].tolist()
        arguments["initiated"] = bool(event["initiated"])
        yield slice_of(CALLS[outcome], began, ended, track, args=arguments)
        yield slice_of("publish", began, published, track)
        if not event["opened"]:
            continue
        if behind is not None:
            track = track | {"tid": behind}
        yield slice_of("wait", published, opened, track)
        # A late rank that finds all chunks summed only collects them.
        yield slice_of("exchange" if outcome == FRESH else "collect", opened, exchanged, track)


def heads(about: About, ranks: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Yield the trace events that name hosts and ranks."""
    ranks = list(ranks)
    for host in sorted({about.hosts[rank] for rank in ranks}):
        yield {"name": "process_name", "ph": "M", "pid": host, "args": {"name": f"host {about.names[host]}"}}
    for rank in ranks:
        tracks = [(rank, f"rank {rank}")]
        if about.options.get("overlap"):
            tracks.append((about.ranks + rank, f"rank {rank}, behind"))
        for order, (tid, name) in enumerate(tracks):
            at = {"ph": "M", "pid": about.hosts[rank], "tid": tid}
            yield {"name": "thread_name", **at, "args": {"name": name}}
            yield {"name": "thread_sort_index", **at, "args": {"sort_index": 2 * rank + order}}


def lines(events: Iterable[dict[str, Any]]) -> bytes:
    """Return events as a part of a trace file: lines that each end in a comma."""
    return b"".join(json.dumps(event, separators=(",", ":")).encode() + b",\n" for event in events)


class Writer:
    """Writes one trace file, part by part; .gz at the end of its name has it compressed.

    A context manager: what end() has not ended is removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(f"{path.name}.unfinished")
        open_file = gzip.open if path.suffix == ".gz" else open
        self._file = open_file(self._unfinished, "wb")
        self._file.write(b'{"traceEvents":[\n')

    def write(self, part: bytes) -> None:
        """Write a part that lines() has made."""
        self._file.write(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Remove what has not come to its end."""
        with contextlib.suppress(OSError):  # a full disk refuses what is left to be written
            self._file.close()
        self._unfinished.unlink(missing_ok=True)

    def end(self, about: dict[str, Any]) -> None:
        """End the file.

        Args:
            about: what the file says of the run.
        """
        # After the last comma.
        self._file.write(b'{"name":"end of trace","ph":"M","pid":0}\n],"displayTimeUnit":"ms","otherData":')
        self._file.write(json.dumps(about).encode() + b"}\n")
        self._file.close()
        os.replace(self._unfinished, self._path)


class Call(NamedTuple):
    """One call of an averager, read from a trace. Times in seconds, on a clock that all ranks share.

    Attributes:
        published: how long it took to publish the model; 0: it did not.
        exchanged: how long its exchange took; 0: it had none.
        arguments: of the slice.
    """

    step: int
    outcome: str
    began: float
    ended: float
    waited: float
    published: float
    exchanged: float
    arguments: dict[str, Any]


class Trace(NamedTuple):
    """A trace file.

    Attributes:
        ranks: how many ranks the run had.
        about: what the file says of the run (About's fields, and more).
        calls: of each rank that the file has, in their order.
        computed: seconds between two calls, of each rank.
    """

    ranks: int
    about: dict[str, Any]
    calls: dict[int, list[Call]]
    computed: dict[int, list[float]]


def read_trace(path: Path) -> Trace:
    """Read a trace file.

    Raises:
        OSError: it can't be read.
        ValueError: it is no trace of an averager.
    """
    content = path.read_bytes()
    try:
        read = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        about, events = read["otherData"]["wagma_rma"], read["traceEvents"]
    except (ValueError, KeyError, TypeError, EOFError, gzip.BadGzipFile, zlib.error):
        raise ValueError(f"{path} is no trace of wagma_rma; pass a file that trace=... has written") from None
    ranks = int(about["ranks"])
    calls: dict[int, list[Call]] = {}
    computed: dict[int, list[float]] = {}
    parts: dict[int, dict[str, float]] = {}  # of the next call of each rank
    for event in reversed(events):
        if event.get("ph") != "X":
            continue
        rank, name, seconds = event["tid"] % ranks, event["name"], event["dur"] / 1e6
        if name == "compute":
            computed.setdefault(rank, []).append(seconds)
        elif name in ("publish", "exchange", "collect"):
            parts.setdefault(rank, {})[name] = seconds
        elif name in CALLS.values():
            arguments, began, of_call = event["args"], event["ts"] / 1e6, parts.pop(rank, {})
            calls.setdefault(rank, []).append(
                Call(
                    arguments["step"],
                    arguments["outcome"],
                    began,
                    began + seconds,
                    arguments["waited_us"] / 1e6,
                    of_call.get("publish", 0.0),
                    of_call.get("exchange", of_call.get("collect", 0.0)),
                    arguments,
                )
            )
    for of_rank in calls.values():
        of_rank.reverse()
    for seconds_of_rank in computed.values():
        seconds_of_rank.reverse()
    return Trace(ranks, about, calls, computed)
