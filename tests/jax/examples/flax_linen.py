"""Train a Flax linen network with batch normalisation on digits, and choose what is averaged.

mpiexec -n 4 python flax_linen.py [--average params batch_stats opt_state] [--steps 150]
"""

import argparse
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState
from mpi4py import MPI

from jax_bindings import PytreeAverager, floating
from jax_bindings.demo import digits


class Network(nn.Module):
    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        hidden = nn.Dense(128)(images)
        hidden = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(hidden))
        return nn.Dense(digits.CLASSES)(hidden)


class State(TrainState):
    batch_stats: Any


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--average", nargs="+", default=["params", "batch_stats"])
    parser.add_argument("--steps", type=int, default=150)
    chosen = parser.parse_args()

    comm = MPI.COMM_WORLD
    data = digits.load(0, comm.rank, comm.size)
    network = Network()
    variables = network.init(jax.random.key(0), data.images[:1], train=False)
    state = State.create(apply_fn=network.apply, tx=optax.adam(3e-3), **variables)

    def averaged(state):
        return {name: getattr(state, name) for name in chosen.average}

    # `floating` leaves out Adam's counter, should the optimizer's state be averaged.
    averager = PytreeAverager(comm, averaged(state), select=floating, sync_period=10)

    @jax.jit
    def step(state, images, labels):
        def loss_of(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            scores, new = state.apply_fn(variables, images, train=True, mutable=["batch_stats"])
            loss = optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()
            return loss, new["batch_stats"]

        gradients, batch_stats = jax.grad(loss_of, has_aux=True)(state.params)
        state = state.apply_gradients(grads=gradients, batch_stats=batch_stats)
        return state.replace(**averager(averaged(state)))

    random = np.random.default_rng(comm.rank)
    for _ in range(chosen.steps):
        batch = random.integers(len(data.images), size=64)
        state = step(state, data.images[batch], data.labels[batch])
    state = state.replace(**averager.synchronize(averaged(state)))
    averager.close()

    variables = {"params": state.params, "batch_stats": state.batch_stats}
    scores = network.apply(variables, data.test_images, train=False)
    accuracy = jnp.mean(scores.argmax(axis=1) == data.test_labels)
    print(f"rank {comm.rank}: accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
