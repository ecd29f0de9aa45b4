"""Train in virtual time with one method or several, and say what each reaches and when.

    python -m benchmarks.learning.virtual --ranks 64 --method wagma-elastic allreduce --slow "two late"

`--task none` computes times alone; `--seconds S` gives each run as many steps as it can do in S virtual
seconds.
"""

import argparse
import os
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks import step_times
from benchmarks.learning import curves
from benchmarks.learning.learner import OPTIMIZERS, Learner
from benchmarks.learning.tasks import TASKS
from benchmarks.learning.virtual.costs import Costs
from benchmarks.learning.virtual.fleet import flat
from benchmarks.learning.virtual.methods import METHODS
from benchmarks.learning.virtual.training import steps_within, train


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--method", nargs="+", choices=METHODS, default=list(METHODS))
    add("--task", choices=["none", *TASKS], default="digits")
    add("--slow", nargs="+", choices=step_times.KINDS, default=["balanced"])
    add("--step-times", help="a file that a real run has written, in place of --slow")
    add("--ranks", type=int, default=16)
    add("--steps", type=int, default=200)
    add("--seconds", type=float, help="in place of --steps")
    add("--seed", type=int, nargs="+", default=[0])
    add("--rates", type=float, nargs="+", default=[0.1, 0.2, 0.4], help="learning rates, side by side")
    add("--optimizer", choices=OPTIMIZERS, default="momentum")
    add("--batch-size", type=int, default=16)
    add("--dirichlet", type=float, help="let shards differ: the smaller, the more")
    add("--word", type=float, default=Costs.word, help="seconds of a round trip (%(default)s)")
    add("--model", type=float, default=Costs.model, help="seconds to move a model (%(default)s)")
    add("--json", help="file to write the runs to")
    chosen = parser.parse_args(arguments)
    costs = Costs(chosen.word, chosen.model)
    learner = None
    if chosen.task != "none":
        learner = Learner(flat(TASKS[chosen.task]()), chosen.optimizer, chosen.rates)
    runs = []
    for slow in chosen.slow if chosen.step_times is None else ["recorded"]:
        for name in chosen.method:
            for seed in chosen.seed:
                began = time.monotonic()
                if chosen.step_times is None:
                    times = step_times.table(slow, chosen.ranks, 4 * chosen.steps, seed)
                else:
                    times = step_times.recorded(chosen.step_times, chosen.ranks)
                steps = chosen.steps
                if chosen.seconds:
                    steps = steps_within(chosen.seconds, name, times, costs)
                run = train(
                    learner, name, times, steps, costs, seed=seed, batch_size=chosen.batch_size,
                    dirichlet=chosen.dirichlet,
                )  # fmt: skip
                runs.append(run | {"task": chosen.task, "slow": slow, "optimizer": chosen.optimizer})
                print(f"{curves.line(runs[-1])}  [{time.monotonic() - began:.0f} s]", flush=True)
                if chosen.json:
                    curves.save(chosen.json, runs)


if __name__ == "__main__":
    main()
