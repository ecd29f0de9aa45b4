"""Pictures of runs: python -m benchmarks.learning.plot FOLDER_OR_FILE ... --out FILE.png [--methods A B ...]

One row for each kind of imbalance: the accuracy of the mean model against seconds, and against steps. Lines
are means over seeds, each at the best learning rate; bands reach from the lowest to the highest seed.
"""

import argparse
import itertools
from pathlib import Path

import matplotlib
import numpy as np

from benchmarks.learning import curves, tables

matplotlib.use("Agg")

from matplotlib import pyplot as plt

AXES = {"seconds": "seconds", "step": "steps"}


def curve(runs, axis):
    """Return (places on the axis, accuracies in per cent [seeds, places]) of runs of several seeds."""
    lane = curves.lane(runs)
    points = min(len(run["points"]) for run in runs)
    at = np.mean([[point[axis] for point in run["points"][:points]] for run in runs], axis=0)
    accuracies = [
        [100 * point["test"][lane][curves.ACCURACY] for point in run["points"][:points]] for run in runs
    ]
    return at, np.array(accuracies)


def styles(names):
    """Return how lines are drawn: WAGMA's options black, other methods in colours."""
    own = [name for name in names if name.startswith("wagma")]
    lines = zip(own, itertools.cycle(("-", "--", ":", "-.")), strict=False)
    colours = zip((name for name in names if name not in own), plt.get_cmap("tab10").colors * 2, strict=False)
    return {name: {"color": "black", "linestyle": line, "linewidth": 2} for name, line in lines} | {
        name: {"color": colour, "linewidth": 1.3} for name, colour in colours
    }


def draw(runs, methods=None):
    """Return a figure of runs."""
    groups = tables.grouped(runs)
    kinds = tables.kinds_of(runs)
    names = methods or list(dict.fromkeys(method for _, method in groups))
    style_of = styles(names)
    figure, axes = plt.subplots(
        len(kinds), len(AXES), figsize=(11, 3.2 * len(kinds)), squeeze=False, layout="constrained"
    )
    for row, slow in zip(axes, kinds, strict=True):
        for place, (axis, label) in zip(row, AXES.items(), strict=True):
            for method in names:
                if (slow, method) not in groups:
                    continue
                at, accuracies = curve(groups[slow, method], axis)
                style = style_of[method]
                place.plot(at, accuracies.mean(0), label=method, **style)
                place.fill_between(at, accuracies.min(0), accuracies.max(0), color=style["color"], alpha=0.1)
            place.set(title=slow, xlabel=label, ylabel="accuracy, %")
            place.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=8, loc="lower right")
    return figure


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", help="those to draw; all by default")
    chosen = parser.parse_args(arguments)
    draw(tables.read(*chosen.path), chosen.methods).savefig(chosen.out, dpi=110)


if __name__ == "__main__":
    main()
