"""Train in virtual time with one method or several, and say what each reaches and when.

    python -m benchmarks.learning.virtual --ranks 64 --method wagma-elastic allreduce --slow "two late"

`--task none` computes times alone; `--seconds S` gives each run as many steps as it can do in S virtual
seconds.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from benchmarks.learning import options
from benchmarks.learning.virtual.methods import METHODS
from benchmarks.learning.virtual.training import learner_of, steps_within, train
from wagma_rma.planning.costs import Costs


def main(arguments=None):
    parser = options.parser(__doc__, METHODS, list(METHODS), tasks=["none"])
    add = parser.add_argument
    add("--ranks", type=int, default=16)
    add("--seconds", type=float, help="in place of --steps")
    add("--word", type=float, default=Costs.word, help="seconds of a round trip (%(default)s)")
    add("--model", type=float, default=Costs.model, help="seconds to move a model (%(default)s)")
    chosen = parser.parse_args(arguments)
    costs = Costs(chosen.word, chosen.model)
    learner = None
    if chosen.task != "none":
        learner = learner_of(chosen.task, chosen.optimizer, tuple(chosen.rates))
    data = {"batch_size": chosen.batch_size, "dirichlet": chosen.dirichlet}

    def run(name, times, seed):
        steps = steps_within(chosen.seconds, name, times, costs) if chosen.seconds else chosen.steps
        return train(learner, name, times, steps, costs, seed=seed, **data)

    options.perform(chosen, chosen.ranks, run)


if __name__ == "__main__":
    main()
