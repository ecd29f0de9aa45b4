"""python -m wagma_rma plan: the step rates that other options, or more ranks, would give a recorded run.

The step times of a trace are replayed in virtual time (``wagma``), with what its exchanges and
synchronisations took. What a rank copies in a call counts as its own time.
"""

import argparse
import itertools
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wagma_rma.groups.choice import choose
from wagma_rma.planning.costs import Costs
from wagma_rma.planning.synchronous import allreduce, local
from wagma_rma.planning.wagma import wagma
from wagma_rma.planning.world import NoModels, World
from wagma_rma.seeing.trace import FRESH, SYNCHRONIZED, Trace, read_trace

Times = npt.NDArray[np.float64]  # [ranks, calls], seconds

FEWEST = 20  # step times of each rank, from which on a plan is made
STEPS = 400  # that are replayed, if the ranks are few
RANK_STEPS = 60_000  # and about as many in all, if they are many
PERIODS = (5, 10, 20, 40)
SHOWN = 12  # rows, besides those that are always shown
CLOSE = 0.95  # of the highest rate: what still counts as fast


class Choice(NamedTuple):
    """Options of a GroupAverager; sync_quorum: None for all ranks."""

    group_size: int
    sync_period: int
    quorum: int
    sync_quorum: int | None
    overlap: bool


class Prediction(NamedTuple):
    """What a choice is predicted to give.

    Attributes:
        steps: a second; of an elastic run also those that ranks skip.
        computed: steps that a rank computes in a second.
        waited: the share of the ranks' time that they wait.
        late: the share of group steps that are LATE.
        age: the mean age of contributions, steps.
    """

    steps: float
    computed: float
    waited: float
    late: float
    age: float


def times_of(trace: Trace) -> Times:
    """Return how long each rank computes before each call, what it copies in a call included.

    Raises:
        ValueError: the trace has too few steps.
    """
    rows = []
    for rank in range(trace.ranks):
        computed = trace.computed.get(rank, [])
        if len(computed) < FEWEST:
            raise ValueError(
                f"the trace has {len(computed)} step times of rank {rank}; a plan needs {FEWEST} of each rank"
            )
        calls = trace.calls[rank]
        copies = [call.published for call in calls if call.outcome != SYNCHRONIZED]
        rows.append(np.array(computed) + (statistics.median(copies) if copies else 0.0))
    return alike(rows)


def alike(rows: Sequence[Any]) -> Times:
    """Return an array [ranks, calls] of the times of each rank; one with fewer calls begins again."""
    calls = max(map(len, rows))
    return np.stack([np.resize(row, calls) for row in rows])


def drawn(times: Times, ranks: int, seed: int = 0) -> Times:
    """Return the times of so many ranks, each of them those of a recorded rank that begins somewhere else."""
    random = np.random.default_rng(seed)
    chosen = random.integers(len(times), size=ranks)
    return np.stack([np.roll(times[rank], random.integers(times.shape[1])) for rank in chosen])


def costs_of(trace: Trace) -> Costs:
    """Return the costs of communication that give the usual exchange and synchronisation of a run."""
    size, ranks = int(trace.about["options"]["group_size"]), trace.ranks
    calls = [call for of_rank in trace.calls.values() for call in of_rank]
    exchanges = [call.exchanged for call in calls if call.outcome == FRESH and call.exchanged]
    meetings = [call.ended - call.began - call.waited for call in calls if call.outcome == SYNCHRONIZED]
    exchange = statistics.median(exchanges) if exchanges else 0.0
    meeting = statistics.median(meetings) if meetings else 0.0
    # Both are sums of so many words and models (Costs.exchange, Costs.synchronise).
    ones = Costs(1.0, 0.0), Costs(0.0, 1.0)
    of_exchange = [one.exchange(size, size) for one in ones]
    of_meeting = [one.synchronise(ranks) for one in ones]
    if exchange and meeting:
        solved = np.linalg.lstsq(
            np.array([of_exchange, of_meeting]), np.array([exchange, meeting]), rcond=None
        )[0]
        if (solved >= 0).all():
            return Costs(*map(float, solved))
    whole, of = (exchange, of_exchange) if exchange else (meeting, of_meeting)
    return Costs(0.0, whole / of[1]) if of[1] else Costs(whole / of[0], 0.0)


def predict(choice: Choice, times: Times, costs: Costs, steps: int, **others: Any) -> Prediction:
    """Predict what a choice gives; the steps are rounded up to whole periods.

    Args:
        others: further options: group_period, patience.
    """
    world = _world(times, costs, steps, choice.sync_period)
    wagma(world, **choice._asdict(), **others)
    return _prediction(world)


def _world(times: Times, costs: Costs, steps: int, period: int) -> World:
    steps = math.ceil(steps / period) * period
    return World(times, steps, costs, NoModels(len(times)), every=period)


def _prediction(world: World) -> Prediction:
    report = world.report()
    seconds = report["seconds"]
    return Prediction(
        world.points[-1]["step"] / seconds,
        report["gradients"] / world.ranks / seconds,
        report["waited"],
        report.get("late share", 0.0),
        report.get("mean age", 0.0),
    )


def compare(times: Times, costs: Costs, steps: int, period: int) -> dict[str, Prediction]:
    """Return what Allreduce-SGD and local SGD give."""
    found = {}
    for name, method, options in (
        ("allreduce", allreduce, {}),
        (f"local SGD, every {period}", local, {"period": period}),
    ):
        world = _world(times, costs, steps, period)
        method(world, **options)
        found[name] = _prediction(world)
    return found


def choices(
    ranks: int, sizes: Sequence[int], periods: Sequence[int], sync_quorums: Sequence[int | None]
) -> Iterator[Choice]:
    """Yield all choices that differ: a quorum is one, or the group."""
    for size, period, sync_quorum, overlap in itertools.product(sizes, periods, sync_quorums, (False, True)):
        for quorum in sorted({1, size}):
            if sync_quorum is None or sync_quorum < ranks:
                yield Choice(size, period, quorum, sync_quorum, overlap)


def usual_sizes(ranks: int) -> list[int]:
    """Return group sizes that make sense: two, the default, and twice that, where groupings exist."""
    default = choose(ranks).size
    sizes = set()
    for size in (2, default, default * 2):
        try:
            sizes.add(choose(ranks, size).size)
        except ValueError:
            continue
    return sorted(sizes)


def best(predicted: dict[Choice, Prediction]) -> Choice:
    """Return the best trade: of those that compute nearly as much as any, the one with the newest models."""
    most = max(prediction.computed for prediction in predicted.values())
    fast = [choice for choice, prediction in predicted.items() if prediction.computed >= CLOSE * most]
    # Then the one that synchronises most often, with the largest groups: models stay closest together.
    return min(
        fast,
        key=lambda choice: (
            round(predicted[choice].age, 1),
            choice.sync_period,
            -choice.group_size,
            choice.overlap,
        ),
    )


_HEADING = (
    "group_size",
    "sync_period",
    "quorum",
    "sync_quorum",
    "overlap",
    "steps/s",
    "computed/s",
    "waited",
    "LATE",
    "age",
)


def _cells(choice: Choice, prediction: Prediction) -> tuple[str, ...]:
    asked = ["all" if value is None else str(value) for value in choice]
    return (*asked, *_numbers(prediction))


def _numbers(prediction: Prediction) -> tuple[str, ...]:
    steps, computed, waited, late, age = prediction
    return f"{steps:.2f}", f"{computed:.2f}", f"{waited:.0%}", f"{late:.0%}", f"{age:.2f}"


def report(
    predicted: dict[Choice, Prediction], others: dict[str, Prediction], now: Choice, costs: Costs, ranks: int
) -> str:
    """Return the table of a plan as text."""
    trade = best(predicted)
    in_order = sorted(predicted, key=lambda choice: -predicted[choice].computed)
    shown = [choice for place, choice in enumerate(in_order) if place < SHOWN or choice in (trade, now)]
    rows = [_HEADING, *(_cells(choice, predicted[choice]) for choice in shown)]
    marks = ["", *(("<- best trade" if choice == trade else "") + (" <- as recorded" if choice == now else "")
                   for choice in shown)]  # fmt: skip
    for name, prediction in others.items():
        rows.append((name, "", "", "", "", *_numbers(prediction)))
        marks.append("")
    widths = [max(len(row[i]) for row in rows if row[1] or i > 4) for i in range(len(_HEADING))]
    lines = []
    for row, mark in zip(rows, marks, strict=True):
        if row[1]:
            text = "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        else:
            first = sum(widths[:5]) + 8
            text = "  ".join(
                [f"{row[0]:<{first}}", *(f"{c:>{w}}" for c, w in zip(row[5:], widths[5:], strict=True))]
            )
        lines.append(f"{text}  {mark}".rstrip())
    return "\n".join(
        [
            f"{ranks} ranks; a word takes {costs.word * 1e6:.0f} us, a model {costs.model * 1e3:.2f} ms",
            "",
            *lines,
            "",
            "steps/s: of the averager, also those that ranks skip; computed/s: steps that a rank computes;",
            "waited: of the ranks' time; LATE: of the group steps; age: of contributions, in steps.",
            f"Best trade: the newest models among the choices that compute at least {CLOSE:.0%} of the most.",
            "Left out: accuracy. Larger groups, newer models and fewer skipped steps learn more in a step:",
            "see benchmarks/LEARNING.md, and try the choice.",
        ]
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add = parser.add_argument
    add("trace", type=Path, help="a file that an averager with trace=... has written")
    add("--ranks", type=int, help="how many ranks; their step times are drawn from those of the trace")
    add("--group-size", type=int, nargs="+", metavar="N", help="sizes to try")
    add(
        "--sync-period",
        type=int,
        nargs="+",
        metavar="N",
        default=PERIODS,
        help="periods to try (%(default)s)",
    )
    add("--steps", type=int, help="how many steps are replayed for each choice")


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    try:
        print(plan_of(options.trace, options.ranks, options.group_size, options.sync_period, options.steps))
    except (OSError, ValueError) as error:
        print(f"plan: {error}", file=sys.stderr)
        return 2
    return 0


def plan_of(
    path: Path,
    ranks: int | None = None,
    sizes: Sequence[int] | None = None,
    periods: Sequence[int] = PERIODS,
    steps: int | None = None,
) -> str:
    """Return the plan of a trace as text; the arguments are the command's.

    Raises:
        OSError, ValueError: the trace can't be read, or is too short; or an argument is wrong.
    """
    trace = read_trace(path)
    times, costs = times_of(trace), costs_of(trace)
    asked: dict[str, Any] = trace.about["options"]
    if ranks is not None and ranks < 2:
        raise ValueError(f"--ranks {ranks} is out of range; pass 2 or more")
    if steps is not None and steps < 1:
        raise ValueError(f"--steps {steps} is out of range; pass 1 or more")
    if min(periods) < 1:
        raise ValueError(f"--sync-period {min(periods)} is out of range; pass 1 or more")
    if ranks is not None and ranks != len(times):
        times = drawn(times, ranks)
    ranks = len(times)
    for size in sizes or ():
        choose(ranks, size)  # raises what is wrong with it
    sizes = sizes or usual_sizes(ranks)
    steps = steps or max(2 * max(periods), min(STEPS, RANK_STEPS // ranks))
    recorded = Choice(
        asked["group_size"] if ranks == trace.ranks else sizes[-1],
        asked["sync_period"],
        asked["quorum"] if ranks == trace.ranks else 1,
        asked["sync_quorum"] if asked["sync_quorum"] < trace.ranks else None,
        asked["overlap"],
    )
    kept = {"group_period": asked["group_period"], "patience": asked["patience"]}
    every = dict.fromkeys([*choices(ranks, sizes, periods, (None, 1)), recorded])
    predicted = {
        choice: predict(choice, times, costs, steps, **kept)
        for choice in every
        if choice.sync_period >= kept["group_period"]
    }
    return report(predicted, compare(times, costs, steps, recorded.sync_period), recorded, costs, ranks)
