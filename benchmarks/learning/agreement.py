"""Do real ranks and virtual time agree? python -m benchmarks.learning.agreement FILE ...

The files are those that `python -m benchmarks.learning --json FILE` writes. Each run is repeated in virtual
time, where ranks compute as long before each step as they really did. Accuracies are means over the learning
rates.
"""

import argparse
import os
from pathlib import Path

import numpy as np

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks.learning import curves, tables
from benchmarks.learning.virtual.training import learner_of, train
from wagma_rma.planning.costs import HOST
from wagma_rma.planning.plan import alike

COLUMNS = (
    "slow",
    "method",
    "seed",
    "seconds",
    "virtual",
    "late, %",
    "virtual",
    "accuracy, %",
    "virtual",
    "gradients",
    "virtual",
)


def repeated(run):
    """Return a run of real ranks as it is in virtual time."""
    learner = learner_of(run["task"], run["optimizer"], tuple(run["rates"]))
    asked = {name: run[name] for name in ("seed", "batch_size", "dirichlet")}
    times = alike(run["step_times"])
    return train(learner, run["method"], times, run["steps"], HOST, **asked)


def accuracy(run):
    """Return the accuracy at the end, the mean over the learning rates, in per cent."""
    return np.mean([curves.final(run, lane) for lane in range(len(run["rates"]))])


def row(run):
    """Return a row of the table."""
    both = run, repeated(run)
    late = [
        f"{100 * each['report']['late share']:.0f}" if "late share" in each["report"] else "" for each in both
    ]
    return (
        run["slow"],
        run["method"],
        f"{run['seed']}",
        *(f"{curves.seconds(each):.1f}" for each in both),
        *late,
        *(f"{accuracy(each):.1f}" for each in both),
        *(f"{each['report']['gradients']}" for each in both),
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", nargs="+", type=Path)
    runs = tables.read(*parser.parse_args(arguments).path)
    print(tables.markdown(COLUMNS, [row(run) for run in runs], 3))


if __name__ == "__main__":
    main()
