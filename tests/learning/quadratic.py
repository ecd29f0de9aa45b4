"""A model of a few numbers whose gradients are known, and what each method makes of it, step by step."""

import jax.numpy as jnp
import numpy as np

from benchmarks.learning.tasks import Data
from wagma_rma.groups.choice import choose

RATE = 0.25
LENGTH = 3
STEPS = 12
PERIOD = 4  # of synchronisations


def start(rank):
    """Return where a rank starts, in tests in which ranks do not start alike: an array [lanes, LENGTH]."""
    return np.random.default_rng([rank, 7]).standard_normal((1, LENGTH)).astype(np.float32)


def targets(ranks):
    """Return what the gradients of each rank lead to, an array [ranks, LENGTH]."""
    return np.random.default_rng(8).standard_normal((ranks, LENGTH)).astype(np.float32)


class Quadratic:
    """A task: half of the squared distance of the model to the target of the rank."""

    def __init__(self, ranks):
        # A text's shards are pieces, so rank r has row r.
        self.train = Data(targets(ranks), np.zeros(ranks, np.int32))
        self.validation = self.test = self.train
        self.classes = None

    def init(self, seed):
        return jnp.asarray(start(0)[0])

    def loss(self, params, batch):
        return 0.5 * jnp.sum((params - batch[0].mean(0)) ** 2)

    def loss_and_accuracy(self, params, batch):
        return self.loss(params, batch), jnp.zeros(())


def recurrence(name, ranks):
    """Return the models [steps, ranks, LENGTH] that a method leads to if all ranks come together."""
    step = RECURRENCES[name]()
    models, after = np.repeat(start(0), ranks, 0), []
    for number in range(1, STEPS + 1):
        models = step(models, models - targets(ranks), number)
        after.append(models)
    return np.stack(after)


def averaged(models):
    """Return the mean of all, for each of them."""
    return np.repeat(models.mean(0, keepdims=True), len(models), 0)


def allreduce(models, gradients, number):
    return models - RATE * averaged(gradients)


def local(models, gradients, number):
    models = models - RATE * gradients
    return models if number % PERIOD else averaged(models)


def diloco():
    """Return the recurrence with 0.7 and Nesterov's 0.9."""
    anchor, velocity = start(0), np.zeros((1, LENGTH))

    def step(models, gradients, number):
        nonlocal anchor, velocity
        models = models - RATE * gradients
        if number % PERIOD:
            return models
        gone = anchor - models.mean(0, keepdims=True)
        velocity = 0.9 * velocity + gone
        anchor = anchor - 0.7 * (gone + 0.9 * velocity)
        return np.repeat(anchor, len(models), 0)

    return step


def dpsgd(models, gradients, number):
    if len(models) == 2:
        return averaged(models) - RATE * gradients
    return (np.roll(models, 1, 0) + models + np.roll(models, -1, 0)) / 3 - RATE * gradients


def sgp(models, gradients, number):
    models = models - RATE * gradients
    hop = 1 << (number - 1) % (len(models) - 1).bit_length()
    return (models + np.roll(models, hop, 0)) / 2


def wagma(models, gradients, number):
    models = models - RATE * gradients
    if number % PERIOD == 0:
        return averaged(models)
    grouping = choose(len(models))
    return np.stack([models[list(grouping.members(rank, number))].mean(0) for rank in range(len(models))])


RECURRENCES = {
    "allreduce": lambda: allreduce,
    "local": lambda: local,
    "diloco": diloco,
    "d-psgd": lambda: dpsgd,
    "sgp": lambda: sgp,
    "wagma": lambda: wagma,
    "eager-majority": lambda: allreduce,
}
