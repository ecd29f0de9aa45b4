"""A picture of a trace: a row for each rank, with its activities over time and the outcome of each step.

python -m wagma_rma timeline run.json -o run.png
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wagma_rma.seeing.trace import FRESH, LATE, LOCAL, MISSED, SYNCHRONIZED, read_trace

if TYPE_CHECKING:
    from matplotlib.artist import Artist


class Step(NamedTuple):
    """One step of one rank. Times in seconds, on a clock that all ranks share."""

    begin: float
    slowed: float  # spent asleep, at the beginning
    waited: float  # for other ranks
    averaging: float  # the whole call of the averager, waiting included
    end: float
    outcome: str | None
    """The name of a report.Outcome; None: this rank averaged with nobody."""
    skipped: int = 0
    """How many steps this rank has skipped to come to this one."""


# Wong's palette (Okabe and Ito's): colour-blind people can tell them apart too.
COLORS = {
    "compute": "#d9dde2",
    "slowed": "#4d4d4d",
    "wait": "#d55e00",
    "average: FRESH": "#009e73",
    "average: LATE": "#f0e442",
    "average: MISSED": "#cc79a7",
    "synchronize": "#0072b2",
}
AVERAGES = {
    FRESH: "average: FRESH",
    LATE: "average: LATE",
    MISSED: "average: MISSED",
    SYNCHRONIZED: "synchronize",
}
MOST_RANKS = 32  # in a picture, unless others are asked for
HATCHES = {"slowed": "////"}
INK, HATCH_INK = "#27313d", "#9aa4b0"
JUMP: dict[str, Any] = {"marker": ">", "markersize": 4, "color": INK}
Spans = dict[str, list[tuple[float, float]]]


def spans(steps: list[Step], origin: float) -> tuple[Spans, Spans]:
    """Return one rank's activities and its steps' outcomes: (begin, duration) by name in COLORS."""
    activities: Spans = {name: [] for name in COLORS}
    outcomes: Spans = {name: [] for name in COLORS}
    for step in steps:
        begin, end = step.begin - origin, step.end - origin
        called = end - step.averaging
        outcome = "compute" if step.outcome is None else AVERAGES[step.outcome]
        activities["slowed"].append((begin, step.slowed))
        activities["compute"].append((begin + step.slowed, called - begin - step.slowed))
        activities["wait"].append((called, step.waited))
        activities[outcome].append((called + step.waited, step.averaging - step.waited))
        if step.outcome is not None:
            outcomes[outcome].append((begin, end - begin))
    return activities, outcomes


def jumps(steps: list[Step], origin: float) -> tuple[list[float], list[int]]:
    """Return when one rank has skipped steps to come to a synchronisation, and how many each time."""
    found = [(step.end - step.averaging - origin, step.skipped) for step in steps if step.skipped]
    return [time for time, _ in found], [count for _, count in found]


def _middle(ranks: list[list[Step]], origin: float, until: float) -> tuple[float, float]:
    """Return (begin, end) of a second or so near the middle of the run, with a slow step if there is one."""
    width = min(until, max(1.0, until / 12))
    everything = [step for steps in ranks for step in steps]
    slow = [step.begin + step.slowed / 2 - origin for step in everything if step.slowed]
    if not slow:
        longest = max(everything, key=lambda step: step.end - step.averaging - step.begin)
        slow = [longest.end - longest.averaging - origin]
    center = min(slow, key=lambda time: abs(time - until / 2), default=until / 2)
    begin = min(max(0.0, center - width / 3), until - width)
    return begin, begin + width


def steps_of(path: Path) -> list[list[Step]]:
    """Return the steps of each rank that a trace file has, on a clock that all share."""
    trace = read_trace(path)
    found: list[list[Step]] = []
    for rank in range(trace.ranks):
        end: float | None = None
        found.append([])
        for call in trace.calls.get(rank, []):
            group = call.arguments.get("group", (0, 1))
            alone = call.outcome == LOCAL or len(group) == 1
            begin = call.began if end is None else end
            found[-1].append(
                Step(
                    begin,
                    0.0,
                    call.waited,
                    call.ended - call.began,
                    call.ended,
                    None if alone else call.outcome,
                    call.arguments.get("skipped", 0),
                )
            )
            end = call.ended
    return found


def draw(path: Path, title: str, caption: str, ranks: Mapping[int, list[Step]]) -> None:
    """Write a picture: above, the whole run; below, a second from its middle.

    Args:
        title, caption: the lines above and below.
        ranks: the steps of each rank, at least one of each, by its number.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    origin = min(steps[0].begin for steps in ranks.values())
    until = max(steps[-1].end for steps in ranks.values()) - origin
    zoom = _middle(list(ranks.values()), origin, until)
    plt.rcParams["hatch.linewidth"] = 0.6
    figure, axes = plt.subplots(
        2, 1, figsize=(13, 3.1 + 0.9 * len(ranks)), dpi=120, layout="constrained", facecolor="white"
    )
    for axis, (begin, end) in zip(axes, ((0.0, until), zoom), strict=True):
        for place, steps in enumerate(ranks.values()):
            activities, outcomes = spans(steps, origin)
            for name, color in COLORS.items():
                axis.broken_barh(
                    activities[name],
                    (place - 0.36, 0.52),
                    facecolor=color,
                    hatch=HATCHES.get(name),
                    edgecolor=HATCH_INK,
                    linewidth=0,
                )
                axis.broken_barh(outcomes[name], (place + 0.20, 0.14), facecolor=color, linewidth=0)
            at, skipped = jumps(steps, origin)
            axis.plot(at, [place - 0.44] * len(at), linestyle="", **JUMP)
            if axis is axes[1]:
                for time, count in zip(at, skipped, strict=True):
                    axis.text(
                        time, place - 0.44, f"  {count}", va="center", color=INK, fontsize=8, clip_on=True
                    )
        axis.set_xlim(begin, end)
        axis.set_ylim(len(ranks) - 0.45, -0.55)
        axis.set_yticks(range(len(ranks)), [f"rank {rank}" for rank in ranks])
        axis.tick_params(axis="y", length=0)
        axis.tick_params(colors=INK, labelsize=10)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    axes[0].axvspan(*zoom, color="#000000", alpha=0.07, linewidth=0, zorder=0)
    axes[0].set_title("the whole run (shaded: the part below)", loc="left", fontsize=10, color=INK)
    axes[1].set_title(f"{zoom[1] - zoom[0]:.1f} seconds of it", loc="left", fontsize=10, color=INK)
    axes[1].set_xlabel("seconds since the first step", color=INK)
    figure.suptitle(title, fontsize=12, fontweight="bold", color=INK)
    handles: list[Artist] = [
        Patch(facecolor=color, label=name, hatch=HATCHES.get(name), edgecolor=HATCH_INK, linewidth=0)
        for name, color in COLORS.items()
        if name != "slowed" or any(step.slowed for steps in ranks.values() for step in steps)
    ]
    if any(step.skipped for steps in ranks.values() for step in steps):
        handles.append(Line2D([], [], linestyle="", label="skips so many steps", **JUMP))
    figure.legend(
        handles=handles,
        title=f"{caption}\nthick: what a rank does; thin line below: how its step came out",
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=10,
        title_fontsize=9,
    )
    figure.savefig(path)
    plt.close(figure)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("trace", type=Path, help="a file that an averager with trace=... has written")
    parser.add_argument(
        "-o", "--output", type=Path, help="the picture: .png, .pdf or .svg; default: beside the trace"
    )
    parser.add_argument(
        "--ranks", type=int, nargs="+", metavar="RANK", help=f"which ranks; default: the first {MOST_RANKS}"
    )


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    try:
        steps = steps_of(options.trace)
        ranks = options.ranks or [rank for rank, of_rank in enumerate(steps) if of_rank][:MOST_RANKS]
        if unknown := [rank for rank in ranks if not (0 <= rank < len(steps) and steps[rank])]:
            raise ValueError(f"{options.trace} has no steps of rank {unknown[0]}")
        picture = options.output or options.trace.with_suffix(".png")
        draw(picture, options.trace.name, f"{len(steps)} ranks.", {rank: steps[rank] for rank in ranks})
    except (OSError, ValueError, ImportError) as error:
        print(f"timeline: {error}", file=sys.stderr)
        return 2
    print(picture)
    return 0
