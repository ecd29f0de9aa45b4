"""The command line that real runs and runs in virtual time share, and the runs that it asks for."""

import argparse
import itertools

from benchmarks import step_times
from benchmarks.learning import curves, tables
from benchmarks.learning.learner import OPTIMIZERS
from benchmarks.learning.tasks import TASKS


def parser(description, methods, default, tasks=()):
    """Return a parser of what both have.

    Args:
        methods: the names of methods; `default`: those that are used if none is named.
        tasks: names of tasks besides those of TASKS.
    """
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    add = made.add_argument
    add("--method", nargs="+", choices=methods, default=default)
    add("--task", choices=[*tasks, *TASKS], default="digits")
    add("--slow", nargs="+", choices=step_times.KINDS, default=["balanced"])
    add("--step-times", help="a file that --json of a real run has written, in place of --slow")
    add("--steps", type=int, default=200)
    add("--seed", type=int, nargs="+", default=[0])
    add("--rates", type=float, nargs="+", default=[0.1, 0.2, 0.4], help="learning rates, side by side")
    add("--optimizer", choices=OPTIMIZERS, default="momentum")
    add("--batch-size", type=int, default=16)
    add("--dirichlet", type=float, help="let shards differ: the smaller, the more")
    add("--json", help="file to write the runs to")
    return made


def perform(chosen, ranks, train):
    """Perform the runs that were asked for; print a line of each, at last a table, and keep them in the file.

    Args:
        train: (method, times, seed) -> the run; None at ranks that have nothing to print.
    """
    runs = []
    kinds = chosen.slow if chosen.step_times is None else ["recorded"]
    for slow, name, seed in itertools.product(kinds, chosen.method, chosen.seed):
        if chosen.step_times is None:
            times = step_times.table(slow, ranks, 4 * chosen.steps, seed)
        else:
            times = step_times.recorded(chosen.step_times, ranks)
        run = train(name, times, seed)
        if run is None:
            continue
        runs.append(run | {"task": chosen.task, "slow": slow, "optimizer": chosen.optimizer})
        print(curves.line(runs[-1]), flush=True)
        if chosen.json:
            curves.save(chosen.json, runs)
    if len(runs) > 1 and runs[0]["rates"]:
        print(tables.text(runs))
