"""Models in the memory of a CUDA device, whose driver is a fake, through the numpy API."""

from pathlib import Path

import numpy as np

from tests.support import models
from tests.support.fake_cuda import STREAM, FakeCuda, OnDevice
from tests.support.messages import message
from wagma_rma import GroupAverager

PERIOD, STEPS = 4, 10


def leaves(rank, step):
    rng = np.random.default_rng(100 * rank + step)
    return {dtype.name: rng.standard_normal(300).astype(dtype) for dtype in map(np.dtype, models.DTYPES)}


def on_device(model):
    return {name: OnDevice(leaf) for name, leaf in model.items()}


def values(model):
    return [leaf.array for leaf in model.values()]


def fake_driver(tmp):
    return FakeCuda(Path(tmp))


def same_bits(comm, folder, **options):
    """Do steps on the device and on this host; return what differs, and what the driver still knows."""
    fake, wrong = fake_driver(Path(folder) / str(comm.rank)), []
    fake.reset(0.001)
    options = {"group_size": 2, "quorum": 2, "sync_period": PERIOD, **options}
    here, there = leaves(comm.rank, 0), on_device(leaves(comm.rank, 0))
    with GroupAverager(comm, here, **options) as averager, GroupAverager(comm, there, **options) as ours:

        def check(what):
            fake.synchronize()
            if not models.same_bits(values(there), list(here.values())):
                wrong.append(what)

        check("start")
        for step in range(1, STEPS + 1):
            for name, leaf in leaves(comm.rank, step).items():
                here[name] += leaf
                there[name].array += leaf
            averager.average(here, out=here)
            ours.average(there, out=there)
            check(f"step {step}")
            if step == 5:
                averager.complete(here, out=here)
                ours.complete(there, out=there)
                check("complete")
            if step == 6:
                averager.synchronize(here, out=here)
                ours.synchronize(there, out=there)
                check("synchronize")
        averager.join(here, out=here)
        ours.join(there, out=there)
        check("join")
        outcomes = [averager.report.outcome.name, ours.report.outcome.name]
    return [wrong, outcomes, fake.registered, fake.retained, fake.depth]


def refused(comm, folder):
    """Pass what can't be averaged; return the errors, and a mean afterwards."""
    fake = fake_driver(Path(folder) / str(comm.rank))
    model = {"a": OnDevice(np.full(3, float(comm.rank))), "b": OnDevice(np.zeros(4, np.float32))}
    plain = {"a": np.zeros(3), "b": np.zeros(4, np.float32)}
    said = []
    with GroupAverager(comm, model, group_size=2, broadcast=False) as averager:
        mixed = {**model, "b": plain["b"]}
        said.append(message(lambda: averager.average(mixed, out=mixed)))
        said.append(message(lambda: averager.average(model, out=plain)))
        said.append(message(lambda: averager.average(plain, out=model)))
        said.append(message(lambda: averager.average(model)))
        strided = {**model, "a": OnDevice(np.zeros(6)[::2])}
        said.append(message(lambda: averager.average(strided, out=strided)))
        read_only = {**model, "a": OnDevice(model["a"].array, data=(model["a"].array.ctypes.data, True))}
        said.append(message(lambda: averager.average(model, out=read_only)))
        other = {**model, "a": OnDevice(model["a"].array, stream=STREAM + 1)}
        said.append(message(lambda: averager.average(other, out=other)))
        both = np.zeros(6)
        lower, upper = OnDevice(both[:3]), OnDevice(both[1:4])
        shifted = {**model, "a": lower}
        said.append(message(lambda: averager.average(shifted, out={**model, "a": upper})))
        averager.synchronize(model, out=model)
        fake.synchronize()
        mean = model["a"].array.tolist()
        if comm.rank == 0:
            fake.fail("cuMemcpyDtoHAsync")
        said.append(message(lambda: averager.synchronize(model, out=model)))
    return [said, mean, fake.registered, fake.depth]


def refused_at_the_start(comm, folder):
    """Have a rank's driver refuse memory where an averager is made; return the error of each."""
    fake = fake_driver(Path(folder) / str(comm.rank))
    if comm.rank == 1:
        fake.fail("cuMemHostRegister")
    model = OnDevice(np.zeros(3))
    said = message(lambda: GroupAverager(comm, model))
    return [said, fake.registered, fake.depth]


def without_driver(comm):
    """Make an averager of a model on a device where there is no driver."""
    return message(lambda: GroupAverager(comm, {"a": OnDevice(np.zeros(3))}))
