"""Models that lie in the window: what buffers() lends, and what becomes of it."""

import numpy as np

from wagma_rma import GroupAverager, SynchronizationTimeout
from wagma_rma.testing.probe import Probe


def apart(one, other):
    return not any(np.shares_memory(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def writable(model):
    return [leaf.flags.writeable for leaf in model.values()]


def contract(comm):
    """Return what is true of the arrays of each kind of step."""
    facts = {}
    start = {"w": np.full(50_000, comm.rank + 7, np.float32), "b": np.full((), comm.rank + 7.0)}
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": 4}
    with GroupAverager(comm, start, **options) as averager:

        def write(model, value):
            for leaf in model.values():
                leaf[...] = value + comm.rank

        def values(model):
            return sorted({float(value) for leaf in model.values() for value in np.unique(leaf)})

        first = averager.buffers()
        facts["start"] = [list(first), first["w"].dtype.name, first["b"].shape, values(first)]
        again = averager.buffers()
        facts["same again"] = all(again[key] is first[key] for key in first)
        write(first, 10)
        second = averager.average(first)
        facts["group step"] = [values(second), writable(second), apart(first, second)]
        facts["published"] = [values(first) == [10 + comm.rank], writable(first)]
        write(second, 20)
        in_place = averager.average(second, out=second)
        facts["in place"] = [in_place is second, values(second), writable(second)]
        ordinary = {"w": np.zeros(50_000, np.float32), "b": np.zeros(())}
        write(ordinary, 30)
        third = averager.average(ordinary)
        facts["from outside"] = [
            values(third),
            writable(third) + writable(ordinary),
            all(third[key] is averager.buffers()[key] for key in third),
        ]
        write(third, 40)
        fourth = averager.average(third)
        facts["synchronised"] = [values(fourth), all(fourth[key] is third[key] for key in third)]
        write(fourth, 50)
        averager.average(fourth, out=ordinary)
        facts["to outside"] = [values(ordinary), writable(fourth)]
        facts["then"] = [values(averager.buffers()) == [50 + comm.rank], writable(averager.buffers())]
        fifth = averager.buffers()
        write(fifth, 60)
        mixed = {"w": fifth["w"], "b": fifth["b"].copy()}
        fifth["b"][...] = 77
        facts["in part"] = [values(averager.average(mixed)), writable(mixed)]
        counts = averager.statistics
        facts["counts"] = [counts.fresh, counts.synchronized, counts.unpublished]
    return facts


def strange(comm):
    """Return what comes of models and outputs that lie in the window in another way than they were lent."""
    facts = {}
    ranks = (comm.size - 1) / 2
    square = np.arange(90_000.0).reshape(300, 300)
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": 100, "patience": 5}
    with GroupAverager(comm, square, **options) as averager:
        model = averager.buffers()
        model[:] = square + comm.rank
        reversed_ = averager.average(model, out=model[::-1])
        facts["reversed"] = np.array_equal(reversed_, square + ranks) and model.flags.writeable
        model[:] = square + comm.rank
        turned = averager.average(model.T)
        facts["turned"] = np.array_equal(turned, square.T + ranks) and turned.flags.writeable
        turned[:] = square + comm.rank
        same = averager.average(np.broadcast_to(turned[:1], turned.shape))
        facts["one row"] = np.array_equal(same, np.broadcast_to(square[:1], same.shape) + ranks)
        facts["unpublished"] = averager.statistics.unpublished
        try:
            averager.synchronize([same, np.zeros(1)])
        except ValueError:
            facts["refused"] = True
        del model, reversed_, turned, same
    facts["freed"] = Probe(averager).is_freed
    with GroupAverager(comm, [np.zeros(0), np.zeros((3, 0))], **options) as averager:
        facts["nothing"] = [leaf.flags.writeable for leaf in averager.average(averager.buffers())]
    return facts


class CutShort:
    """Something of which one method raises KeyboardInterrupt once, as if Ctrl-C came there."""

    def __init__(self, whole, name, when):
        self._whole, self._name, self._when = whole, name, when

    def __getattr__(self, name):
        method = getattr(self._whole, name)
        if name != self._name or not self._when:
            return method

        def cut_short(*args):
            if self._when == "after":
                method(*args)
            self._when = ""
            raise KeyboardInterrupt

        return cut_short


def interrupted(comm, method, when, then):
    """Press Ctrl-C around a loan and go on, in one of the ways there are; return what steps give then."""
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": 100, "patience": 60}
    with GroupAverager(comm, np.zeros(3000), **options) as averager:
        model = averager.buffers()
        model[:] = comm.rank
        probe = Probe(averager)
        replaced = probe.replaced_snapshots if method == "lend" else probe.replaced_buffers
        came = False
        with replaced(lambda usual: CutShort(usual, method, when)):
            try:
                averager.average(model)
            except KeyboardInterrupt:
                came = True
            comm.Barrier()
        facts = [came]
        if then == "synchronize":
            model = averager.synchronize(averager.buffers() if method == "settle" else model)
            facts.append(np.unique(model).tolist())
        elif then == "average":
            model = averager.average(averager.buffers())
        for step in range(4):
            model = averager.buffers()
            facts.append(model.flags.writeable)
            model[:] = step + comm.rank
            model = averager.average(model)
            facts.append(np.unique(model).tolist())
        facts += [len(probe.lent_slots()), averager.statistics.unpublished]
        del model
    return facts


def outlive(comm, keepers):
    """Close while some ranks keep an array; return what it holds, and whether the window is open still."""
    with GroupAverager(comm, np.zeros(1000), group_size=comm.size, quorum=comm.size) as averager:
        model = averager.buffers()
        model[:] = comm.rank
        model = averager.average(model)
        part = model[10:20] if comm.rank in keepers else np.zeros(0)
        del model
    comm.Barrier()
    return part.tolist(), "freed" if Probe(averager).is_freed else "open"


def cut_short(comm):
    """Rank 0 waits in vain for its group; return what it has then, and what both come to."""
    facts = {}
    options = {"group_size": 2, "quorum": 2, "sync_period": 30, "timeout": 60.0}
    with GroupAverager(comm, np.zeros(5000), **options) as averager:
        model = averager.buffers()
        if comm.rank == 0:
            model[:] = 5
            averager.timeout = 0.2
            try:
                averager.average(model)
            except SynchronizationTimeout:
                facts["outcome"] = averager.report.outcome.name
            averager.timeout = 60.0
            facts["published"] = model.flags.writeable
            model = averager.buffers()
            facts["next"] = [model.flags.writeable, np.unique(model).tolist()]
        comm.Barrier()
        while averager.step < 2:
            model[:] = 10 * (averager.step + 1) + comm.rank
            model = averager.average(model)
        model[:] = 30 + comm.rank
        if comm.rank == 0:
            averager.timeout = 0.2
            try:
                averager.synchronize(model)
            except SynchronizationTimeout:
                averager.timeout = 60.0
            try:
                averager.average(model)  # a slot has been lent for its average
            except RuntimeError as error:
                facts["refused"] = "cut short" in str(error)
        comm.Barrier()
        mean = averager.synchronize(model)
        facts["mean"] = [mean is model, np.unique(mean).tolist()]
        del model, mean
    return facts


def pinned(comm):
    """Return what steps give while somebody reads each snapshot of a rank, and then none of them."""
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": 100, "patience": 1e-3}
    facts = []
    with GroupAverager(comm, np.zeros(300), window="shared", **options) as averager:
        probe = Probe(averager)
        addresses = [probe.address(slot) for slot in probe.slots]
        model = averager.buffers()
        for step in range(1, 2 * len(addresses) + 3):
            reading = step <= len(addresses)
            model[:] = step + comm.rank
            if reading:
                probe.pin(comm.rank)
            elif step == len(addresses) + 1:
                for slot, pins in enumerate(probe.pins()):
                    for _ in range(pins):
                        probe.unpin(comm.rank, slot)
            model = averager.average(model)
            published = averager.report.published
            facts.append([published, np.unique(model).tolist(), model.ctypes.data in addresses])
        del model
    return facts
