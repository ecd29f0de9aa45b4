"""Train a PyTorch network on digits: its tensors are averaged in place.

mpiexec -n 4 python pytorch.py
"""

import numpy as np
import torch
from mpi4py import MPI
from sklearn.datasets import load_digits

from wagma_rma import GroupAverager


def averaged(network):
    """Return what is averaged: parameters, and the statistics of batch normalisation; not its counter."""
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def main():
    torch.set_num_threads(1)  # ranks share the cores
    torch.manual_seed(0)
    comm = MPI.COMM_WORLD
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images = torch.tensor(images[order] / 16, dtype=torch.float32)
    labels = torch.tensor(labels[order])
    mine = slice(360 + comm.rank, None, comm.size)
    own_images, own_labels = images[mine], labels[mine]

    network = torch.nn.Sequential(
        torch.nn.Linear(64, 128), torch.nn.BatchNorm1d(128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)

    with GroupAverager(comm, averaged(network), sync_period=10) as averager:
        for step in range(150):
            random = np.random.default_rng([comm.rank, step])
            batch = torch.tensor(random.integers(len(own_images), size=64))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(own_images[batch]), own_labels[batch]).backward()
            optimizer.step()
            model = averaged(network)
            averager.average(model, out=model)
        averager.synchronize(model, out=model)

    means = comm.allgather(network[1].running_mean.tolist())
    assert means.count(means[0]) == comm.size, "each rank has statistics of its own"

    network.eval()
    with torch.no_grad():
        accuracy = (network(images[:360]).argmax(dim=1) == labels[:360]).float().mean()
    print(f"rank {comm.rank}: accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
