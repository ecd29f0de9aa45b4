"""Train a Flax NNX network with batch normalisation on digits; parameters and statistics are averaged.

mpiexec -n 4 python flax_nnx.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from mpi4py import MPI

from jax_bindings import PytreeAverager
from jax_bindings.demo import digits


class Network(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(64, 128, rngs=rngs)
        self.norm = nnx.BatchNorm(128, momentum=0.9, rngs=rngs)
        self.last = nnx.Linear(128, digits.CLASSES, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.last(nnx.relu(self.norm(self.first(images))))


def loss_of(network, images, labels):
    return optax.softmax_cross_entropy_with_integer_labels(network(images), labels).mean()


def main():
    comm = MPI.COMM_WORLD
    data = digits.load(0, comm.rank, comm.size)
    network = Network(nnx.Rngs(0))
    optimizer = nnx.Optimizer(network, optax.adam(3e-3), wrt=nnx.Param)
    averaged = nnx.Any(nnx.Param, nnx.BatchStat)
    averager = PytreeAverager(comm, nnx.state(network, averaged), sync_period=10)
    nnx.update(network, averager.params)

    @nnx.jit
    def step(network, optimizer, images, labels):
        optimizer.update(network, nnx.grad(loss_of)(network, images, labels))
        nnx.update(network, averager(nnx.state(network, averaged)))

    network.train()
    random = np.random.default_rng(comm.rank)
    for _ in range(150):
        batch = random.integers(len(data.images), size=64)
        step(network, optimizer, data.images[batch], data.labels[batch])
    nnx.update(network, averager.synchronize(nnx.state(network, averaged)))
    averager.close()

    network.eval()
    accuracy = jnp.mean(network(data.test_images).argmax(axis=1) == data.test_labels)
    print(f"rank {comm.rank}: accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
