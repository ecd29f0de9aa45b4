"""Train an Equinox network on digits; its arrays are averaged.

mpiexec -n 4 python equinox_mlp.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from mpi4py import MPI

from jax_bindings import PytreeAverager, wagma
from jax_bindings.demo import digits


def main():
    comm = MPI.COMM_WORLD
    data = digits.load(0, comm.rank, comm.size)
    network = eqx.nn.MLP(64, digits.CLASSES, width_size=128, depth=2, key=jax.random.key(0))
    arrays, static = eqx.partition(network, eqx.is_inexact_array)
    averager = PytreeAverager(comm, arrays, sync_period=10)
    optimizer = wagma(optax.adam(1e-3), averager)

    def scores_of(arrays, images):
        return jax.vmap(eqx.combine(arrays, static))(images)

    @jax.jit
    def step(arrays, state, images, labels):
        def loss_of(arrays):
            scores = scores_of(arrays, images)
            return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()

        updates, state = optimizer.update(jax.grad(loss_of)(arrays), state, arrays)
        return optax.apply_updates(arrays, updates), state

    state = optimizer.init(arrays)
    random = np.random.default_rng(comm.rank)
    for _ in range(200):
        batch = random.integers(len(data.images), size=64)
        arrays, state = step(arrays, state, data.images[batch], data.labels[batch])
    arrays = averager.synchronize(arrays)
    averager.close()

    accuracy = jnp.mean(scores_of(arrays, data.test_images).argmax(axis=1) == data.test_labels)
    print(f"rank {comm.rank}: accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
