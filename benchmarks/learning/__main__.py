"""Train on real ranks with one method, and say what it reaches and when.

    mpiexec -n 8 python -m benchmarks.learning --method wagma-elastic --slow "two late" [--json FILE]

Each rank computes its gradients and then sleeps until its step has lasted as long as the kind of imbalance
says, so 8 to 16 ranks fit on 2 cores. `--step-times FILE` takes the times from a file that --json has
written.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

from mpi4py import MPI

from benchmarks.learning import options
from benchmarks.learning.learner import Learner
from benchmarks.learning.methods import METHODS
from benchmarks.learning.real import train
from benchmarks.learning.tasks import TASKS


def main(arguments=None):
    chosen = options.parser(__doc__, METHODS, ["wagma-elastic"]).parse_args(arguments)
    comm = MPI.COMM_WORLD
    learner = Learner(TASKS[chosen.task](), chosen.optimizer, chosen.rates)
    data = {"batch_size": chosen.batch_size, "dirichlet": chosen.dirichlet}

    def run(name, times, seed):
        return train(comm, learner, name, times, chosen.steps, seed=seed, **data)

    options.perform(chosen, comm.size, run)


if __name__ == "__main__":
    main()
