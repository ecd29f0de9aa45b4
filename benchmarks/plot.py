"""Draw what the benchmarks have written with --json.

python -m benchmarks.plot FILE.json ... [--picture benchmarks.png]

A panel a file: times against sizes for exchange.py, bars of the time in the call for imbalance.py.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WAYS = ("wagma", "apart", "allreduce", "iallreduce", "floor")


def sizes(axes, rows):
    """Draw the time of each way to average against the floats of the model."""
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        ours = [row for row in rows if row["dtype"] == dtype]
        for i, way in enumerate(WAYS):
            points = [(row["floats"], row[way] * 1e3) for row in ours if way in row]
            style = {"color": f"C{i}", "linestyle": "--" if way == "floor" else "-"}
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", label=f"{way}, {dtype}", **style)
    axes.set(xscale="log", yscale="log", xlabel="floats", ylabel="ms a step")
    axes.legend(fontsize="small")


def bars(axes, rows):
    """Draw the mean time in the call of each way, per experiment."""
    names = [f"{row['experiment']}: {row['way']}" for row in rows]
    axes.barh(
        names,
        [row["mean"] * 1e3 for row in rows],
        color=["C1" if row["way"] == "wagma" else "C0" for row in rows],
    )
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="ms in the call, mean")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path, default=Path("benchmarks.png"))
    arguments = parser.parse_args(arguments)
    count = len(arguments.files)
    figure, panels = plt.subplots(1, count, figsize=(7 * count, 5), squeeze=False)
    for axes, path in zip(panels[0], arguments.files, strict=True):
        told = json.loads(path.read_text())
        rows = told["rows"]
        if rows and "way" in rows[0]:
            bars(axes, rows)
        elif rows and "dtype" in rows[0]:
            sizes(axes, rows)
        else:
            parser.error(f"{path} is of neither exchange.py nor imbalance.py")
        axes.set_title(f"{path.stem}: {told['ranks']} ranks, {told['library'][:40]}", fontsize="small")
    figure.tight_layout()
    figure.savefig(arguments.picture, dpi=120)
    print(arguments.picture)


if __name__ == "__main__":
    main()
