"""How many steps a second each method performs with any number of ranks: clocks alone, no models.

    python -m benchmarks.learning.scale [--ranks 64 1024 65536] [--steps 40] [--step 0.4] [--slow "two late"]

A step of 0.4 s is about what a P100 takes for 128 images and ResNet-50, and a model of 100 MB takes 10 ms
over a link of 10 GB/s: the authors' machine (WAGMA-SGD, Li et al., TPDS 2021). Their ratios stand beside.

The paper's local SGD is as slow as its Allreduce-SGD, so it probably averages at each step: "local, each
step".

of ideal    steps performed, of those without any waiting and communication
wagma /     WAGMA's rate of steps over the method's; then that of elastic WAGMA
gradients   computed by all ranks, over steps and ranks; each method counts its own steps
"""

import argparse
import time

import numpy as np

from benchmarks import step_times
from benchmarks.learning import tables
from benchmarks.learning.virtual.methods import METHODS
from benchmarks.learning.virtual.training import train
from wagma_rma.planning.costs import Costs

EACH_STEP = "local, each step"
# Li et al., section 5: at 64 ranks ResNet-50, two ranks 320 ms late; at 1,024 ranks reinforcement learning.
PAPER = {
    64: {"allreduce": 1.26, EACH_STEP: 1.25, "d-psgd": 1.23, "sgp": 1.25, "eager-solo": 1.13},
    1024: {EACH_STEP: 2.33, "d-psgd": 1.88, "sgp": 2.10},
}
COLUMNS = (
    "ranks",
    "slow",
    "method",
    "of ideal",
    "wagma /",
    "elastic /",
    "paper",
    "gradients",
    "waited",
    "late",
)


def times_of(slow, ranks, calls, step, seed=0):
    """Return step times whose usual step lasts `step` seconds; stragglers are as late as ever."""
    times = step_times.table(slow, ranks, calls, seed)
    late = step_times.LATE * (times > 2 * step_times.STEP) if slow == "two late" else 0.0
    return (times - late) * (step / step_times.STEP) + late


def rows(ranks, slow, steps, step, costs, methods):
    """Yield a row for each method."""
    times = times_of(slow, ranks, 2 * steps, step)
    reports = {}
    for name in methods:
        method, options = ("local", {"period": 1}) if name == EACH_STEP else (name, {})
        reports[name] = train(None, method, times, steps, costs, every=10, **options)["report"]
    ideal = steps * np.mean(times)
    for name, report in reports.items():
        yield (
            f"{ranks:,}",
            slow,
            name,
            f"{100 * ideal / report['seconds']:.0f} %",
            *(f"{report['seconds'] / reports[own]['seconds']:.2f}" for own in ("wagma", "wagma-elastic")),
            f"{PAPER.get(ranks, {}).get(name, '')}",
            f"{report['gradients'] / (steps * ranks):.2f}",
            f"{100 * report['waited']:.0f} %",
            f"{100 * report['late share']:.0f} %" if "late share" in report else "",
        )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--ranks", type=int, nargs="+", default=[64, 1024])
    add("--slow", nargs="+", choices=step_times.KINDS, default=["two late", "log-normal"])
    add("--steps", type=int, default=40, help="a multiple of 10")
    add("--step", type=float, default=0.4, help="seconds of a usual step")
    add("--word", type=float, default=5e-6, help="seconds of a round trip")
    add("--model", type=float, default=10e-3, help="seconds to move a model")
    usual = [name for name in METHODS if name != "wagma-moments"]
    add("--method", nargs="+", choices=[EACH_STEP, *METHODS], default=[EACH_STEP, *usual])
    chosen = parser.parse_args(arguments)
    methods = dict.fromkeys([*chosen.method, "wagma", "wagma-elastic"])
    print(tables.markdown(COLUMNS, [], 3))
    for ranks in chosen.ranks:
        for slow in chosen.slow:
            began = time.monotonic()
            for row in rows(
                ranks, slow, chosen.steps, chosen.step, Costs(chosen.word, chosen.model), methods
            ):
                print(tables.line(row), flush=True)
            print(f"<!-- {time.monotonic() - began:.0f} s -->", flush=True)


if __name__ == "__main__":
    main()
