"""Train on real ranks with one method, and say what it reaches and when.

    mpiexec -n 8 python -m benchmarks.learning --method wagma-elastic --slow "two late" [--json FILE]

Each rank computes its gradients and then sleeps until its step has lasted as long as the kind of imbalance
says, so 8 to 16 ranks fit on 2 cores. `--step-times FILE` takes the times from a file that --json has
written.
"""

import argparse
import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from mpi4py import MPI

from benchmarks import step_times
from benchmarks.learning import curves
from benchmarks.learning.learner import OPTIMIZERS, Learner
from benchmarks.learning.methods import METHODS
from benchmarks.learning.real import train
from benchmarks.learning.tasks import TASKS


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--method", nargs="+", choices=METHODS, default=["wagma-elastic"])
    add("--task", choices=TASKS, default="digits")
    add("--slow", nargs="+", choices=step_times.KINDS, default=["balanced"])
    add("--step-times", help="a file that --json has written, in place of --slow")
    add("--steps", type=int, default=200)
    add("--seed", type=int, nargs="+", default=[0])
    add("--rates", type=float, nargs="+", default=[0.1, 0.2, 0.4], help="learning rates, side by side")
    add("--optimizer", choices=OPTIMIZERS, default="momentum")
    add("--batch-size", type=int, default=16)
    add("--dirichlet", type=float, help="let shards differ: the smaller, the more")
    add("--json", help="file to write the runs to")
    chosen = parser.parse_args(arguments)
    comm = MPI.COMM_WORLD
    learner = Learner(TASKS[chosen.task](), chosen.optimizer, chosen.rates)
    runs = []
    for slow in chosen.slow if chosen.step_times is None else ["recorded"]:
        for name in chosen.method:
            for seed in chosen.seed:
                times = (
                    step_times.table(slow, comm.size, 4 * chosen.steps, seed)
                    if chosen.step_times is None
                    else step_times.recorded(chosen.step_times, comm.size)
                )
                run = train(
                    comm, learner, name, times, chosen.steps, seed=seed, batch_size=chosen.batch_size,
                    dirichlet=chosen.dirichlet,
                )  # fmt: skip
                if run is not None:
                    runs.append(run | {"task": chosen.task, "slow": slow, "optimizer": chosen.optimizer})
                    print(curves.line(runs[-1]), flush=True)
                    if chosen.json:
                        curves.save(chosen.json, runs)


if __name__ == "__main__":
    main()
