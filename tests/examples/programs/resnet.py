"""The jobs of tests/examples/resnet at real ranks: what is averaged, and what a checkpoint brings back."""

import copy
from functools import partial
from pathlib import Path

import numpy as np

from tests.examples.resnet import options
from tests.examples.resnet.checkpoints import Checkpoints
from tests.examples.resnet.data import Samples, training_keys
from tests.examples.resnet.sources import open_sets
from wagma_rma import Outcome

NETWORK = {"depth": 18}


class Flax:
    """What a test sees of the job in Flax."""

    @staticmethod
    def make(*arguments):
        from tests.examples.resnet.flax_train import FlaxJob

        return FlaxJob(*arguments)

    @staticmethod
    def arrays(job):
        """Return parameters and statistics, and the optimizer's momentum, by name."""
        import jax

        leaves = jax.tree_util.tree_leaves_with_path((job.variables, job.state.inner))
        found = {jax.tree_util.keystr(path): np.array(leaf) for path, leaf in leaves}
        return {
            name: leaf
            for name, leaf in found.items()
            if leaf.dtype == np.float32 and "learning_rate" not in name
        }

    @staticmethod
    def own_statistics(job, images):
        """Return what batch normalisation makes of a rank's own batch, in the order of arrays()."""
        import jax

        forward = jax.jit(partial(job.network.apply, train=True, mutable=["batch_stats"]))
        _, changed = forward(job.variables, images)
        return [np.array(leaf) for leaf in jax.tree.leaves(changed["batch_stats"])]

    @staticmethod
    def is_statistic(name):
        return "batch_stats" in name


class Torch:
    """What a test sees of the job in PyTorch."""

    @staticmethod
    def make(*arguments):
        from tests.examples.resnet.torch_train import TorchJob

        return TorchJob(*arguments)

    @staticmethod
    def arrays(job):
        parts = job.model()
        return {
            f"{part}.{name}": tensor.detach().numpy().copy()
            for part, tensors in parts.items()
            for name, tensor in tensors.items()
        }

    @staticmethod
    def own_statistics(job, images):
        network = copy.deepcopy(job.network).train()
        network(images.permute(0, 3, 1, 2))
        state = network.state_dict()
        return [tensor.numpy() for name, tensor in state.items() if "running_" in name]

    @staticmethod
    def is_statistic(name):
        return "running_" in name


FRAMEWORKS = {"flax": Flax, "torch": Torch}


def job_of(comm, framework, found=None, **more):
    """Return a small job that synchronises at each step, and its batches."""
    given = {"width": 8, "batch-size": 8, "sync-period": 1, "workers": 0, "seed": 3, **more}
    chosen = options.parse([text for name, value in given.items() for text in (f"--{name}", str(value))])
    sets = open_sets("digits")
    job = framework.make(comm, chosen, sets, found)
    keys = training_keys(len(sets.train.labels), 8, 0, comm.rank, comm.size)
    return job, iter(job.load(Samples(sets, train=True), keys))


def synchronised(comm, framework):
    """Train for two steps; return how far statistics are from all ranks' mean, and ranks apart."""
    framework = FRAMEWORKS[framework]
    job, batches = job_of(comm, framework)
    with job.averager:
        job.update(*next(batches), 0.1)
        batch = next(batches)
        own = framework.own_statistics(job, batch[0])
        before = framework.arrays(job)
        job.update(*batch, 0.1)
        after = framework.arrays(job)
        assert job.averager.report.outcome is Outcome.SYNCHRONIZED
    statistics = [after[name] for name in after if framework.is_statistic(name)]
    means = [comm.allreduce(leaf) / comm.size for leaf in own]
    return {
        "from the mean": largest(statistics, means),
        "from own": largest(statistics, own),
        "between ranks": largest(after.values(), comm.bcast(list(after.values()))),
        "unchanged": [name for name in after if np.array_equal(before[name], after[name])],
    }


def restored(comm, framework, directory):
    """Save after two steps, make a job with other first weights from it; return what differs."""
    framework, checkpoints = FRAMEWORKS[framework], Checkpoints(Path(directory))
    job, batches = job_of(comm, framework)
    with job.averager:
        for _ in range(2):
            job.update(*next(batches), 0.1)
        saved = comm.bcast(framework.arrays(job))  # rank 0's
        if comm.rank == 0:
            checkpoints.save(job.averager.step, NETWORK, job.save, keep=1)
    comm.Barrier()
    found = comm.bcast(checkpoints.newest())
    job, _ = job_of(comm, framework, found, seed=4)
    with job.averager:
        now = framework.arrays(job)
        return {
            "step": job.averager.step,
            "differ": [name for name in saved if not np.array_equal(saved[name], now[name])],
        }


def largest(some, others):
    """Return the largest difference of arrays."""
    return max(float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True))
