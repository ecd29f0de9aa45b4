"""The models of all ranks, trained in one process.

Gradients are computed when one is needed first, all that ranks have begun at once. Models are numpy arrays
[lanes, params] that are never changed in place, so a snapshot of one is a reference.
"""

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.learning.learner import Learner
from benchmarks.learning.tasks import shards
from wagma_rma.planning.world import NoModels as NoModelsAtAll


def flat(task):
    """Return the task with params that are one vector."""
    tree_of = ravel_pytree(task.init(0))[1]
    return task._replace(
        init=lambda seed: ravel_pytree(task.init(seed))[0],
        logits=lambda params, inputs: task.logits(tree_of(params), inputs),
    )


class Fleet:
    """The models of all ranks.

    Args:
        learner: of a flat task.
        ranks: how many.
        seed, batch_size, dirichlet: of the data that each rank draws; real ranks draw the same.
    """

    def __init__(self, learner: Learner, ranks, seed=0, batch_size=16, dirichlet=None):
        self.learner, self.ranks, self.batch_size = learner, ranks, batch_size
        start = np.asarray(learner.start(seed))
        self.models = [start] * ranks
        self.states = [jax.tree.map(np.asarray, learner.optimizer.init(start))] * ranks
        self._rows = shards(learner.task, ranks, seed, dirichlet)
        self._randoms = [np.random.default_rng([seed, rank, 5]) for rank in range(ranks)]
        self._begun, self._computed = {}, {}

    def begin(self, rank):
        """Have a rank begin with the gradient of its model as it is now, and forget any other."""
        self._computed.pop(rank, None)
        rows = self._randoms[rank].choice(self._rows[rank], self.batch_size)
        self._begun[rank] = self.models[rank], rows

    def gradient(self, rank):
        """Return the gradient that a rank has begun with."""
        if rank not in self._computed:
            begun = list(self._begun)
            models, rows = zip(*self._begun.values(), strict=True)
            # Few sizes, since each is compiled.
            size = 1 << (len(begun) - 1).bit_length()
            models, rows = (np.stack(each + each[:1] * (size - len(each))) for each in (models, rows))
            gradients = np.asarray(self.learner.gradients(models, self.learner.task.train.batch(rows)))
            self._computed.update(zip(begun, gradients, strict=False))
            self._begun.clear()
        return self._computed.pop(rank)

    def update(self, rank, factor, gradient=None):
        """Perform a step of a rank's optimizer; by default with the gradient that it has begun with."""
        if gradient is None:
            gradient = self.gradient(rank)
        model, state = self.learner.update(self.models[rank], self.states[rank], gradient, factor)
        self.models[rank], self.states[rank] = np.asarray(model), jax.tree.map(np.asarray, state)

    def average(self, models, number=None):
        """Return the sum of some models over their number, or over another one."""
        return sum(models[1:], models[0]) / np.float32(number or len(models))

    def mixed(self, average, members, model):
        """Return the mean of so many models and of one more."""
        share = np.float32(members / (members + 1))
        return average * share + model * (1 - share)

    def moved(self, model, average, before):
        """Return a model with an average that has come late, of which `before` was a part."""
        return model + (average - before)

    def average_states(self):
        """Give all ranks the mean of their optimizers' states; counters are the same or stay."""
        mean = jax.tree.map(
            lambda *leaves: self.average(leaves) if leaves[0].dtype.kind == "f" else max(leaves), *self.states
        )
        self.states = [mean] * self.ranks

    def mean(self):
        """Return the mean of all models."""
        if all(model is self.models[0] for model in self.models):
            return self.models[0]
        return self.average(self.models)


class NoModels(NoModelsAtAll):
    """A fleet for clocks alone, of no learner."""

    learner = None
