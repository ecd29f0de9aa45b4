"""The table of all ranks: where each is, how long its steps take, and who is slow."""

import dataclasses
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from wagma_rma.seeing.rows import Row
from wagma_rma.waiting.processes import has_ended, process_id

# A rank is slow in a step if it computes for so many times the usual time of the median rank ...
SLOW = 1.5
# ... slow now and then, if that is so in this share of its last steps, two of them at least ...
NOW_AND_THEN = 0.05
# ... and chronically slow, if its own usual time is so many times that of the median rank.
CHRONIC = 1.25
FEWEST = 5  # compute times from which on a rank is judged

CLOSED = "closed"
GONE = (CLOSED, "broken", "left")  # activities of ranks that take no further part
NO_ANSWER = "no answer"
DEAD = "dead"


@dataclasses.dataclass(frozen=True, slots=True)
class RankStatus:
    """One rank, as another one sees it. Times are in seconds.

    Attributes:
        rank: its number.
        host: the name of its host; "" if it has never answered.
        pid: the id of its process; 0 if that is not known.
        state: "computing", "averaging" (in a group step), "synchronizing", "closing", "closed", "broken"
            (after an error), "left" (its program has ended or left the averager), "dead" (its process has
            ended), or "no answer" (its host does not answer; what else stands here was seen earlier).
        step: the last step that it has done.
        seconds: since its last call of the averager began, if it is in a call, or ended; None: not known.
        compute_mean: the mean time between two of its calls, of about the last hundred.
        compute_median: the median of the last times between two calls (128 at most); 0 if there is none.
        compute_p90: what nine of ten of these times do not exceed.
        compute_p99: what 99 of 100 do not exceed.
        call_mean: the mean time of a call.
        waited_mean: the part of that in which it waited for other ranks.
        late: the share of its group steps that were LATE.
        slow: in how many of the last `times` steps it computed for 1.5 times the median rank's usual time.
        times: how many times between two calls are known, 128 at most.
        ratio: its median over that of the median rank; 0 if one of them is not known.
        verdict: "chronic": its usual step takes 1.25 times as long as that of the median rank, or longer;
            "now and then": it is slow in a twentieth of its steps or more; "fine"; "" if fewer than five
            steps are known.
    """

    rank: int
    host: str = ""
    pid: int = 0
    state: str = NO_ANSWER
    step: int = 0
    seconds: float | None = None
    compute_mean: float = 0.0
    compute_median: float = 0.0
    compute_p90: float = 0.0
    compute_p99: float = 0.0
    call_mean: float = 0.0
    waited_mean: float = 0.0
    late: float = 0.0
    slow: int = 0
    times: int = 0
    ratio: float = 0.0
    verdict: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by their names, for json.dumps()."""
        return dataclasses.asdict(self)

    @property
    def why(self) -> str:
        """The verdict with its number: the ratio, or in how many of the last steps the rank was slow."""
        if self.verdict == "chronic":
            return f"chronic: {self.ratio:.1f}x"
        if self.verdict == "now and then":
            return f"now and then: {self.slow} of {self.times}"
        return self.verdict

    def __str__(self) -> str:
        """Return what a warning says of a rank that others wait for."""
        said = [f"host {self.host}, pid {self.pid}"] if self.host else []
        if self.state in (NO_ANSWER, DEAD, *GONE):
            said.append(
                {NO_ANSWER: "does not answer", DEAD: "its process has ended"}.get(self.state, self.state)
            )
        elif self.seconds is not None:
            doing = "has computed" if self.state == "computing" else f"has been {self.state}"
            said.append(f"{doing} for {_time(self.seconds)}")
        if self.times:
            said.append(f"its steps usually take {_time(self.compute_median)}")
            said.append(f"slow in {self.slow} of the last {self.times}")
        return "; ".join(said)


class RankTable(Sequence[RankStatus]):
    """All ranks at one moment, by their numbers. str() shows them, the slowest first.

    Args:
        usual: the usual compute time of the median rank, seconds.
    """

    def __init__(self, ranks: Iterable[RankStatus], usual: float) -> None:
        self._ranks = tuple(ranks)
        computing = [_computing(rank) for rank in self._ranks if rank.state == "computing"]
        # Where all ranks do something else, an evaluation for instance, all compute for long.
        self._unusual = max(usual, statistics.median_low(computing)) if computing else usual
        self._usual = usual

    @overload
    def __getitem__(self, place: int) -> RankStatus: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[RankStatus, ...]: ...
    def __getitem__(self, place: int | slice) -> RankStatus | tuple[RankStatus, ...]:
        return self._ranks[place]

    def __len__(self) -> int:
        return len(self._ranks)

    def __iter__(self) -> Iterator[RankStatus]:
        return iter(self._ranks)

    def __repr__(self) -> str:
        return f"<RankTable of {len(self)} ranks>"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def slowest(self, k: int = 1) -> list[RankStatus]:
        """Return k ranks: first those that do not answer or have died, then by how long they compute.

        That is a rank's usual time. A rank that computes now for longer than it ever does, and longer than
        the others, comes before ranks whose usual time is not as many times that of the median rank.
        """
        return sorted(self._ranks, key=self._slowness)[:k]

    def _slowness(self, rank: RankStatus) -> tuple[bool, float, int]:
        """Return what slower ranks have less of."""
        slow, computing = rank.compute_median, _computing(rank)
        if computing > SLOW * max(rank.compute_p99, self._unusual):
            slow = max(slow, self._usual * computing / self._unusual if self._usual else computing)
        return rank.state not in (NO_ANSWER, DEAD), -slow, rank.rank

    def lines(self, most: int | None = None) -> list[str]:
        """Return the lines of the table, a heading first.

        Args:
            most: how many lines there may be; the last one then says how many ranks are left out.
        """
        ranks = self.slowest(len(self))
        left_out = 0
        if most is not None and 1 + len(ranks) > most:
            left_out = len(ranks) - max(0, most - 2)
            ranks = ranks[: max(0, most - 2)]
        cells = [_HEADING, *map(_cells, ranks)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(_HEADING))]
        lines = ["  ".join(map(_aligned, row, widths, _ALIGNMENTS)).rstrip() for row in cells]
        return lines + ([f"and {left_out} more ranks, which are not slower"] if left_out else [])


_HEADING = (
    "rank",
    "host",
    "pid",
    "state",
    "for",
    "step",
    "computes",
    "90 %",
    "waited",
    "LATE",
    "verdict",
)
_ALIGNMENTS = "><><>>>>>><"


def _cells(rank: RankStatus) -> tuple[str, ...]:
    known = bool(rank.host)
    return (
        str(rank.rank),
        rank.host or "?",
        str(rank.pid or "?"),
        rank.state,
        "" if rank.seconds is None else _time(rank.seconds),
        str(rank.step) if known else "?",
        _time(rank.compute_median) if rank.times else "",
        _time(rank.compute_p90) if rank.times else "",
        _time(rank.waited_mean) if known else "",
        f"{rank.late:.0%}" if known else "",
        rank.why,
    )


def _aligned(text: str, width: int, alignment: str) -> str:
    return f"{text:{alignment}{width}}"


def _time(seconds: float) -> str:
    """Return a time with three digits: "4.21 s", "110 ms", "35.0 us"."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        value = seconds * factor
        if value >= 0.9995 or unit == "us":
            digits = max(0, 2 - len(str(int(value))) + 1)
            return f"{value:.{digits}f} {unit}"
    raise AssertionError


def _computing(rank: RankStatus) -> float:
    """Return for how long a rank has been computing."""
    return rank.seconds or 0.0 if rank.state == "computing" else 0.0


class Seen(NamedTuple):
    """What was seen of a rank."""

    rank: int
    row: Row | None
    """None: it has never answered."""
    now: float | None
    """The present time on the clock of its host; None: not known."""
    answers: bool = True
    """Whether it has answered now; otherwise the row is an earlier one."""
    is_near: bool = True
    """Whether it is on this host."""


def table(seen: Sequence[Seen]) -> RankTable:
    """Make the table of some ranks."""
    rows = [each.row for each in seen if each.row is not None]
    medians = [float(np.median(row.times)) for row in rows if len(row.times) >= FEWEST]
    # The lower one of two: of two ranks one may be slow.
    usual = statistics.median_low(medians) if medians else 0.0
    return RankTable((_status(each, usual) for each in seen), usual)


def _status(seen: Seen, usual: float) -> RankStatus:
    row, moment = seen.row, seen.now
    if row is None:
        return RankStatus(seen.rank)
    state = row.activity
    if not seen.answers:
        state, moment = NO_ANSWER, None
    elif row.activity not in GONE and seen.is_near and has_ended(row.process):
        state = DEAD
    since = row.began if row.activity in ("averaging", "synchronizing", "closing") else row.ended
    times = row.times
    median, p90, p99 = map(float, np.percentile(times, (50, 90, 99))) if len(times) else (0.0, 0.0, 0.0)
    slow = int(np.count_nonzero(times > SLOW * usual)) if usual else 0
    ratio = median / usual if usual else 0.0
    verdict = ""
    if len(times) >= FEWEST:
        chronic, tail = ratio >= CHRONIC, slow >= max(2, NOW_AND_THEN * len(times))
        verdict = "chronic" if chronic else "now and then" if tail else "fine"
    return RankStatus(
        rank=seen.rank,
        host=row.host,
        pid=process_id(row.process),
        state=state,
        step=row.step,
        seconds=None if moment is None else max(0.0, moment - since),
        compute_mean=row.compute,
        compute_median=median,
        compute_p90=p90,
        compute_p99=p99,
        call_mean=row.call,
        waited_mean=row.waited,
        late=row.late,
        slow=slow,
        times=len(times),
        ratio=ratio,
        verdict=verdict,
    )
