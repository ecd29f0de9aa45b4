"""Train a ResNet in Flax: mpiexec -n 4 python -m tests.examples.resnet.flax_train --help"""

import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from tests.examples.resnet import options
from tests.examples.resnet.checkpoints import Checkpoint
from tests.examples.resnet.data import Key, Loader, Samples
from tests.examples.resnet.flax_model import ResNet
from tests.examples.resnet.options import Options
from tests.examples.resnet.sources import Floats, Integers, Sets

if TYPE_CHECKING:
    from mpi4py import MPI

Variables: TypeAlias = dict[str, Any]  # {"params": ..., "batch_stats": ...}
STATE = "state"  # the folder of a checkpoint in which Orbax writes


def sgd(momentum: float, weight_decay: float) -> optax.GradientTransformation:
    """Return an optimizer of {"params": ..., "batch_stats": ...}.

    Parameters have SGD, with weight decay of those that are matrices and kernels. An update of the statistics
    is added as it is. The learning rate is the hyperparameter `learning_rate` of the state.
    """

    @optax.inject_hyperparams
    def of_params(learning_rate: float) -> optax.GradientTransformation:
        decay = optax.add_decayed_weights(weight_decay, partial(jax.tree.map, lambda leaf: leaf.ndim > 1))
        return optax.chain(decay, optax.sgd(learning_rate, momentum, nesterov=True))

    return optax.multi_transform(
        {"sgd": of_params(learning_rate=0.0), "added": optax.identity()},
        {"params": "sgd", "batch_stats": "added"},
    )


class FlaxJob:
    """A ResNet in Flax and its optimizer; see loop.Job.

    The averager averages parameters and statistics at each step, and the optimizer's momentum at
    synchronisations. So one checkpoint, of rank 0, serves all ranks, however many go on from it.
    """

    def __init__(self, comm: "MPI.Intracomm", chosen: Options, sets: Sets, found: Checkpoint | None) -> None:
        from jax_bindings import PytreeAverager, floating, wagma
        from tests.examples.resnet.start import at_rank_0, averager_options, network_of

        kind = network_of(chosen, sets)
        self._chosen, self._device = chosen, own_device(comm)
        self.network = ResNet(chosen.depth, sets.classes, chosen.width, bool(kind["small"]))
        shape = (chosen.batch_size, *sets.train.shape)
        with jax.default_device(self._device):
            images, labels = jnp.zeros(shape), jnp.zeros(chosen.batch_size, jnp.int32)
            init = jax.jit(lambda key: self.network.init(key, images, train=False))
            # Of this generator's programs XLA compiles five in the time of one of the usual generator's.
            variables = init(jax.random.key(chosen.seed, impl="rbg"))
            inner = sgd(chosen.momentum, chosen.weight_decay)
            start = (variables, inner.init(variables))
        if found:
            start = at_rank_0(comm, lambda: restored(found.folder, start)) or start
        self.averager = PytreeAverager(
            comm, start, select=floating, select_synchronized=(False, True), **averager_options(chosen, found)
        )
        self._optimizer = wagma(inner, self.averager, moments="synchronize")
        self.variables, inner_state = self.averager.params
        self.state = self._optimizer.init(self.variables)._replace(inner=inner_state)
        # Compiled before the first step: a rank that compiles longer than others would skip steps.
        train = jax.jit(self._train, donate_argnums=(0, 1))
        self._update = train.lower(self.variables, self.state, images, labels, 0.0).compile()
        self._losses = jax.jit(self._evaluate)

    def load(self, samples: Samples, batches: Iterable[list[Key]]) -> Loader:
        return Loader(samples, batches, self._chosen.workers)

    def update(self, images: Floats, labels: Integers, rate: float) -> float:
        batch = jax.device_put((images, labels, np.float32(rate)), self._device)
        self.variables, self.state, loss = self._update(self.variables, self.state, *batch)
        return float(loss)

    def evaluate(self, images: Floats, labels: Integers) -> tuple[float, int]:
        # Batches of one size, so that there is one program; what is added has no label.
        missing = self._chosen.batch_size - len(labels)
        images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
        labels = np.pad(labels, (0, missing), constant_values=-1)
        loss, right = self._losses(self.variables, *jax.device_put((images, labels), self._device))
        return float(loss), int(right)

    def save(self, folder: Path) -> None:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder.absolute() / STATE, (self.variables, self.state.inner))

    def _train(
        self,
        variables: Variables,
        state: optax.OptState,
        images: jax.Array,
        labels: jax.Array,
        rate: jax.Array,
    ) -> tuple[Variables, optax.OptState, jax.Array]:
        """Return the averaged variables and the optimizer's state after a step, and the loss of the batch."""

        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            given = {"params": params, "batch_stats": variables["batch_stats"]}
            scores, changed = self.network.apply(given, images, train=True, mutable=["batch_stats"])
            loss = optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()
            return loss, changed["batch_stats"]

        (loss, statistics), gradients = jax.value_and_grad(loss_of, has_aux=True)(variables["params"])
        moves = jax.tree.map(jnp.subtract, statistics, variables["batch_stats"])
        # The schedule follows the averager's step. The optimizer's own counter differs by rank.
        state = optax.tree_utils.tree_set(state, learning_rate=rate)
        updates, state = self._optimizer.update({"params": gradients, "batch_stats": moves}, state, variables)
        return optax.apply_updates(variables, updates), state, loss

    def _evaluate(
        self, variables: Variables, images: jax.Array, labels: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return the sum of the losses and the number of right answers, of images that have a label."""
        scores = self.network.apply(variables, images, train=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(scores, jnp.maximum(labels, 0))
        return jnp.sum(losses * (labels >= 0)), jnp.sum(scores.argmax(axis=1) == labels)


def own_device(comm: "MPI.Intracomm") -> jax.Device:
    """Return this rank's device: of the devices that it sees, the one with its number on the host."""
    from mpi4py import MPI

    host = comm.Split_type(MPI.COMM_TYPE_SHARED)
    devices = jax.local_devices()
    device = devices[host.rank % len(devices)]
    host.Free()
    return device


def restored(folder: Path, like: Any) -> Any:
    """Return the state of a checkpoint, as arrays like those of `like`."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder.absolute() / STATE, like)


def main() -> int:
    chosen = options.parse()
    # MPI starts below, where a program that imports this one again does not come.
    from mpi4py import MPI

    from tests.examples.resnet.start import run

    return run(MPI.COMM_WORLD, chosen, FlaxJob)


if __name__ == "__main__":
    sys.exit(main())
