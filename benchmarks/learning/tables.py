"""Tables of runs: python -m benchmarks.learning.tables FOLDER_OR_FILE ... [--target 70] [--wide COLUMN ...]

One row a method and a kind of imbalance; means over seeds, and the standard error of the mean. The learning
rate is that of the best final loss on the validation set; `<` and `>` mark one at the edge of its grid. `to`
is the time until the mean model has the target accuracy on the test set; if not all seeds reach it, how many
do. `of allreduce` is that time over Allreduce-SGD's, if all seeds of both reach the target.

`--wide accuracy to` gives one row a method and one column a kind; cells have the columns that begin so.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from benchmarks import step_times
from benchmarks.learning import curves

COLUMNS = (
    "slow",
    "method",
    "rate",
    "accuracy, %",
    "steps",
    "seconds",
    "to {target}",
    "of allreduce",
    "waited, %",
    "late, %",
    "gradients",
)


def read(*paths):
    """Return the runs in files, or in all files of folders."""
    runs = []
    for path in map(Path, paths):
        for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            held = json.loads(file.read_text())
            runs += held if isinstance(held, list) else [held]
    return runs


def grouped(runs):
    """Return the runs by (kind of imbalance, method), in the order of their first."""
    groups = defaultdict(list)
    for run in runs:
        groups[run["slow"], run["method"]].append(run)
    return groups


def kinds_of(runs):
    """Return the kinds of imbalance, in their usual order."""
    return sorted({run["slow"] for run in runs}, key=[*step_times.KINDS, "recorded"].index)


def mean(values):
    """Return the text of a mean and its standard error."""
    error = f" ±{np.std(values, ddof=1) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{error}"


def target_of(runs):
    """Return the accuracy, a multiple of 5 %, that nearly all methods reach: the default target."""
    finals = [
        np.mean([curves.final(run, curves.lane(some)) for run in some]) for some in grouped(runs).values()
    ]
    return float(np.quantile(finals, 0.3) // 5 * 5)


def times_to(runs, target):
    """Return the seconds to the target accuracy of those runs, alike but for their seeds, that reach it."""
    lane = curves.lane(runs)
    return [seconds for run in runs if (seconds := curves.seconds_to(run, lane, target)) is not None]


def rows(runs, target):
    """Yield a row of values for each method and kind."""
    groups = grouped(runs)
    for (slow, method), some in groups.items():
        lane, rates = curves.lane(some), some[0]["rates"]
        edge = "<" if lane == 0 else ">" if lane == len(rates) - 1 else ""
        to, peers = times_to(some, target), groups.get((slow, "allreduce"), [])
        of_peers = times_to(peers, target) if peers else []
        all_reach_it = len(to) == len(some) and 0 < len(peers) == len(of_peers)
        reports = [run["report"] for run in some]
        yield (
            slow,
            method,
            f"{rates[lane]:g}{edge}",
            mean([curves.final(run, lane) for run in some]),
            f"{np.mean([run['steps'] for run in some]):.0f}",
            f"{np.mean([curves.seconds(run) for run in some]):.1f}",
            (mean(to) + (f" ({len(to)} of {len(some)})" if len(to) < len(some) else "")) if to else "never",
            f"{np.mean(to) / np.mean(of_peers):.2f}" if all_reach_it else "",
            f"{100 * np.mean([report['waited'] for report in reports]):.0f}",
            f"{100 * np.mean([report['late share'] for report in reports]):.0f}"
            if "late share" in reports[0]
            else "",
            f"{np.mean([run['report']['gradients'] / (run['steps'] * run['ranks']) for run in some]):.2f}",
        )


def line(cells):
    """Return one line of a table in Markdown."""
    return "| " + " | ".join(cells) + " |"


def markdown(head, lines, names):
    """Return a table; so many columns at the left are names, the others numbers."""
    rule = ["---"] * names + ["---:"] * (len(head) - names)
    return "\n".join(map(line, (head, rule, *lines)))


def text(runs, target=None):
    """Return the table of all columns."""
    target = target or target_of(runs)
    order = kinds_of(runs)
    head = [column.format(target=f"{target:g} %, s") for column in COLUMNS]
    return markdown(head, sorted(rows(runs, target), key=lambda row: order.index(row[0])), 2)


def wide(runs, beginnings, target=None):
    """Return a table of methods by kinds, with the columns that begin so in each cell."""
    places = [n for begin in beginnings for n, column in enumerate(COLUMNS) if column.startswith(begin)]
    cells = defaultdict(dict)
    for row in rows(runs, target or target_of(runs)):
        slow, method, *_ = row
        cells[method][slow] = " · ".join(row[place] for place in places if row[place])
    kinds = kinds_of(runs)
    lines = [[method, *(of_kind.get(slow, "") for slow in kinds)] for method, of_kind in cells.items()]
    return markdown(["method", *kinds], lines, 1)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="+", type=Path)
    parser.add_argument("--target", type=float, help="accuracy, %%")
    parser.add_argument("--wide", nargs="+", metavar="COLUMN", help="methods by kinds, with these in cells")
    chosen = parser.parse_args(arguments)
    runs = read(*chosen.path)
    print(wide(runs, chosen.wide, chosen.target) if chosen.wide else text(runs, chosen.target))


if __name__ == "__main__":
    main()
