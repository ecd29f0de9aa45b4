"""One run on real ranks."""

import itertools
import time

import jax
import numpy as np
from mpi4py import MPI

from benchmarks.learning import curves
from benchmarks.learning.methods import METHODS, messages
from benchmarks.learning.tasks import shards


class Padded:
    """A gradient that takes as long as a rank's step lasts; the rest of the time the rank sleeps.

    Args:
        gradient: (params, batch) -> gradients.
        seconds: of the rank's steps, one after another; then again from the first.

    Attributes:
        began: when the step began; whoever calls sets it.
    """

    def __init__(self, gradient, seconds):
        self._gradient, self._seconds = gradient, itertools.cycle(seconds)
        self.began = 0.0

    def __call__(self, params, batch):
        gradients = jax.block_until_ready(self._gradient(params, batch))
        time.sleep(max(0.0, self.began + next(self._seconds) - time.monotonic()))
        return gradients


def train(comm, learner, name, times, steps, *, seed=0, batch_size=16, dirichlet=None, every=20, **options):
    """Train on real ranks; return the run on rank 0, and None elsewhere. Collective.

    Args:
        name: of METHODS.
        times: seconds that ranks compute, an array [ranks, calls].
        options: of the method.
    """
    rows = shards(learner.task, comm.size, seed, dirichlet)[comm.rank]
    random = np.random.default_rng([seed, comm.rank, 5])
    params = learner.start(seed)
    gradient = Padded(learner.gradient, times[comm.rank])

    def batch():
        return learner.task.train.batch(random.choice(rows, batch_size))

    # Compiled before the clock starts, no rank looks slow.
    jax.block_until_ready(learner.gradient(params, learner.task.train.batch(rows[:1].repeat(batch_size))))
    method = METHODS[name](comm, learner, gradient, params, steps, **options)
    state = learner.optimizer.init(params)
    jax.block_until_ready(learner.update(params, state, params, 0.0))
    kept, computed = [], []
    comm.Barrier()
    start = end = time.monotonic()
    while method.done < steps:
        gradient.began, before = end, method.in_calls
        params = method.step(params, batch())
        end = time.monotonic()
        computed.append(end - gradient.began - (method.in_calls - before))
        while method.done >= (len(kept) + 1) * every:
            kept.append((end - start, params))
    told = comm.gather((end - start, method.waited, method.report, computed))
    seconds = np.array([seconds for seconds, _ in kept])
    comm.Allreduce(MPI.IN_PLACE, seconds, MPI.MAX)
    means = [messages.mean(comm, params) for _, params in kept]
    method.close()
    if told is None:
        return None
    points = [
        curves.point(learner, when, (n + 1) * every, mean)
        for n, (when, mean) in enumerate(zip(seconds, means, strict=True))
    ]
    asked = {"method": name, "seed": seed, "steps": steps, "batch_size": batch_size, "dirichlet": dirichlet}
    made = curves.run(learner, comm.size, points, totals(told), **asked)
    return made | {"step_times": [times for *_, times in told]}


def totals(told):
    """Return the counts of all ranks together, and the share of the time that they waited."""
    counts = {name: sum(report[name] for _, _, report, _ in told) for name in told[0][2]}
    waited = sum(waited for _, waited, _, _ in told) / sum(took for took, *_ in told)
    report = {"seconds": max(took for took, *_ in told), "waited": waited} | counts
    if counts:
        groups = counts["fresh"] + counts["late"] + counts["missed"]
        report["late share"] = counts["late"] / max(1, groups)
    report["gradients"] = sum(len(times) for *_, times in told)
    return report
