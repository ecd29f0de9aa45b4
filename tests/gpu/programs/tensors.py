"""Tensors of torch and arrays of cupy on a CUDA device, through the numpy API."""

import numpy as np

from wagma_rma import GroupAverager

DTYPES = ("float32", "float64", "float16", "bfloat16")
PERIOD, STEPS = 4, 10


def values(rank, step):
    rng = np.random.default_rng(100 * rank + step)
    return {name: rng.standard_normal(10_001).astype(np.float32) for name in DTYPES}


def of_torch(comm, device):
    """Return a model of torch tensors, a function that changes one, and one that returns its bytes."""
    import torch

    def tensors(step):
        return {
            name: torch.from_numpy(leaf).to(device).to(getattr(torch, name))
            for name, leaf in values(comm.rank, step).items()
        }

    def changed(model, step):
        for name, leaf in tensors(step).items():
            model[name] += leaf

    return tensors(0), changed, lambda leaf: leaf.cpu().view(torch.uint8).numpy().tobytes()


def of_cupy(comm, device):
    """The same of cupy; on the "cpu" numpy."""
    if device == "cpu":
        kind, on_host = np, np.asarray
    else:
        import cupy as kind

        on_host = kind.asnumpy
    names = DTYPES[:3]

    def arrays(step):
        found = values(comm.rank, step)
        return {name: kind.asarray(found[name]).astype(name) for name in names}

    def changed(model, step):
        for name, leaf in arrays(step).items():
            model[name] += leaf

    return arrays(0), changed, lambda leaf: on_host(leaf).tobytes()


def same_bits(comm, framework, in_place, **options):
    """Do the same steps on the device and on the CPU; return the steps after which bits differ."""
    make = {"torch": of_torch, "cupy": of_cupy}[framework]
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": PERIOD, **options}
    (here, change, of_host), (there, change_there, of_device) = make(comm, "cpu"), make(comm, "cuda")
    wrong = []
    with GroupAverager(comm, here, **options) as averager, GroupAverager(comm, there, **options) as ours:
        for step in range(1, STEPS + 1):
            change(here, step)
            change_there(there, step)
            here = averager.average(here, out=here if in_place else None)
            there = ours.average(there, out=there if in_place else None)
            if any(of_host(leaf) != of_device(there[name]) for name, leaf in here.items()):
                wrong.append(step)
    return [wrong, [type(leaf).__module__ for leaf in there.values()]]
