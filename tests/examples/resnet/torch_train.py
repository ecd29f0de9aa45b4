"""Train a ResNet in PyTorch: mpiexec -n 4 python -m tests.examples.resnet.torch_train --help"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from tests.examples.resnet import options
from tests.examples.resnet.checkpoints import Checkpoint
from tests.examples.resnet.data import Key, Samples
from tests.examples.resnet.options import Options
from tests.examples.resnet.sources import Sets
from tests.examples.resnet.torch_model import ResNet

if TYPE_CHECKING:
    from mpi4py import MPI

Model: TypeAlias = dict[str, dict[str, torch.Tensor]]
STATE = "state.pt"  # the file of a checkpoint


class TorchJob:
    """A ResNet in PyTorch and its optimizer; see loop.Job.

    The averager averages parameters and statistics at each step, and the optimizer's momentum at
    synchronisations. So one checkpoint, of rank 0, serves all ranks, however many go on from it.
    """

    def __init__(self, comm: "MPI.Intracomm", chosen: Options, sets: Sets, found: Checkpoint | None) -> None:
        from tests.examples.resnet.start import at_rank_0, averager_options, network_of
        from wagma_rma import GroupAverager

        kind = network_of(chosen, sets)
        self._chosen, self._device = chosen, own_device(comm)
        torch.manual_seed(chosen.seed)
        network = ResNet(chosen.depth, sets.classes, kind["channels"], chosen.width, bool(kind["small"]))
        self.network = network.to(self._device)
        self._optimizer = sgd(self.network, chosen.momentum, chosen.weight_decay)
        if found:
            at_rank_0(comm, lambda: self._restore(found.folder))
        model = self.model()
        host = on_host(model)
        self.averager = GroupAverager(
            comm,
            host,
            select_synchronized={"network": False, "momentum": True},
            **averager_options(chosen, found),
        )
        copy_back(host, model)  # what rank 0 has sent

    def load(self, samples: Samples, batches: Iterable[list[Key]]) -> Iterable[tuple[Any, Any]]:
        workers = self._chosen.workers
        return DataLoader(
            samples,
            batch_sampler=batches,
            num_workers=workers,
            # Forked workers would have a copy of what MPI holds, which not every network allows. And
            # those of the fork server ignore requests to stop.
            multiprocessing_context="forkserver" if workers else None,
            persistent_workers=workers > 0,
            pin_memory=self._device.type == "cuda",
        )

    def update(self, images: torch.Tensor, labels: torch.Tensor, rate: float) -> float:
        # The schedule follows the averager's step. PyTorch's schedules count updates, which differ by rank.
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        self._optimizer.zero_grad()
        loss = cross_entropy(*self._scores(images, labels))
        loss.backward()
        self._optimizer.step()
        model = self.model()
        host = on_host(model)
        self.averager.average(host, out=host)
        copy_back(host, model)
        return loss.item()

    @torch.no_grad()
    def evaluate(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, int]:
        self.network.eval()
        scores, labels = self._scores(images, labels)
        loss = cross_entropy(scores, labels, reduction="sum")
        return loss.item(), int((scores.argmax(dim=1) == labels).sum())

    def save(self, folder: Path) -> None:
        torch.save(self.model(), folder / STATE)

    def _scores(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the network makes of a batch, and the labels, both on its device."""
        images = images.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        return self.network(images), labels.to(self._device, torch.long, non_blocking=True)

    def model(self) -> Model:
        """Return what is averaged and saved, where it lies; not the counters of batch normalisation."""
        state = self.network.state_dict()
        momentum = {
            name: self._optimizer.state[parameter]["momentum_buffer"]
            for name, parameter in self.network.named_parameters()
        }
        return {
            "network": {name: tensor for name, tensor in state.items() if tensor.is_floating_point()},
            "momentum": momentum,
        }

    def _restore(self, folder: Path) -> None:
        copy_back(torch.load(folder / STATE, map_location="cpu", weights_only=True), self.model())


def sgd(network: torch.nn.Module, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """Return SGD whose momentum is there before the first step, with weight decay of matrices and kernels."""
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=momentum > 0)
    for parameter in parameters:
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def on_host(model: Model) -> Model:
    """Return the tensors in memory of the host; those that are there already, as they are."""
    return {part: {name: tensor.cpu() for name, tensor in tensors.items()} for part, tensors in model.items()}


@torch.no_grad()
def copy_back(source: Model, target: Model) -> None:
    """Copy tensors to those of the same name, unless they are the same."""
    for part, tensors in target.items():
        for name, tensor in tensors.items():
            if source[part][name] is not tensor:
                tensor.copy_(source[part][name])


def own_device(comm: "MPI.Intracomm") -> torch.device:
    """Return this rank's device: the GPU with its number on the host, or the CPU and its share of cores."""
    from mpi4py import MPI

    host = comm.Split_type(MPI.COMM_TYPE_SHARED)
    rank, ranks = host.rank, host.size
    host.Free()
    if torch.cuda.is_available():
        return torch.device("cuda", rank % torch.cuda.device_count())
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks))
    return torch.device("cpu")


def main() -> int:
    chosen = options.parse()
    # MPI starts below, where a worker of the data loader, which imports this program again, does not come.
    from mpi4py import MPI

    from tests.examples.resnet.start import run

    return run(MPI.COMM_WORLD, chosen, TorchJob)


if __name__ == "__main__":
    sys.exit(main())
