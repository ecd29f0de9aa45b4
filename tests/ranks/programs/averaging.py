"""Ranks on time: what a group step and a synchronisation give, and how it is reported."""

import functools
import hashlib
import threading
import time

import numpy as np

import wagma_rma
from tests.support import models
from tests.support.changes import changed
from wagma_rma import opening
from wagma_rma.groups.choice import choose
from wagma_rma.mpi import hosts
from wagma_rma.protocol import layout
from wagma_rma.testing.probe import Probe


def usual(comm):
    """Return the function that gives the grouping of an averager that is given a size alone."""
    host_of = hosts.host_numbers(comm)
    return lambda size: choose(comm.size, size, host_of if max(host_of) else None)


def exact(comm, lent=False):
    """Return all deviations from numpy for every group size; all ranks on time."""
    wrong = []
    P = comm.size
    grouping_of = usual(comm)
    published = functools.cache(models.mixed)  # many sizes need the same ones
    for size in range(1, P + 1):
        grouping = grouping_of(size)
        period = grouping.period + 2
        start = models.mixed(comm.rank, 0)
        with wagma_rma.GroupAverager(
            comm, start, group_size=size, sync_period=period, quorum=grouping.size, broadcast=False
        ) as averager:
            if lent:
                result = averager.buffers()
            for step in range(1, 2 * period + 1):
                mine = models.mixed(comm.rank, step)
                synchronizes = step % period == 0
                group = range(P) if synchronizes else grouping.members(comm.rank, step)
                expected = models.group_mean([published(rank, step) for rank in group])
                in_place = step % 2 == 0 and not lent
                if lent:
                    for leaf, other in zip(models.leaves(result), models.leaves(mine), strict=True):
                        leaf[...] = other
                    mine = result
                result = averager.average(mine, out=mine if in_place else None)
                report = averager.report
                where = f"P={P} S={size} step={step} in_place={in_place} {report}"
                if report.step != step or averager.step != step or report.group != tuple(group):
                    wrong.append(f"report: {where}")
                if synchronizes:
                    digest = hashlib.sha256()
                    for leaf in models.leaves(result):
                        digest.update(np.ascontiguousarray(leaf).tobytes())
                    if len(set(comm.allgather(digest.hexdigest()))) != 1:
                        wrong.append(f"ranks hold different bits after a synchronisation: {where}")
                    # Random bits span so many magnitudes that their sum depends on the order.
                    del expected[4:6]
                    rest = {key: leaves for key, leaves in result.items() if key != "bits"}
                    for leaf, other in zip(models.leaves(rest), expected, strict=True):
                        near = {8: 1e-12, 4: 1e-5, 2: 1e-2}[leaf.dtype.itemsize]
                        with np.errstate(all="ignore"):
                            a, b = leaf.astype(np.float64), other.astype(np.float64)
                        finite = np.isfinite(a) & np.isfinite(b)
                        if not np.allclose(a[finite], b[finite], rtol=near, atol=near):
                            wrong.append(f"not the global mean: {where}")
                    # Nobody is in a group step between two barriers: all pins must be back.
                    comm.Barrier()
                    if any(pins := Probe(averager).pins()):
                        wrong.append(f"pins {pins}: {where}")
                    comm.Barrier()
                else:
                    if report.outcome is not wagma_rma.Outcome.FRESH or any(report.ages):
                        wrong.append(f"not fresh: {where}")
                    if not models.same_bits(result, expected):
                        wrong.append(f"not numpy's sum: {where}")
            counts = averager.statistics
            if (counts.steps, counts.synchronized, counts.fresh) != (2 * period, 2, 2 * period - 2):
                wrong.append(f"P={P} S={size} {counts}")
    return wrong


def full_turn(comm, size):
    """Return (largest deviation from the global mean after one turn, steps it took)."""
    grouping = choose(comm.size, size)
    model = np.random.default_rng(comm.rank).standard_normal(1000)
    mean = comm.allreduce(model) / comm.size
    with wagma_rma.GroupAverager(
        comm, model, group_size=size, sync_period=100, quorum=size, broadcast=False
    ) as averager:
        for _ in range(grouping.period):
            model = averager.average(model)
    return float(np.abs(model - mean).max()), grouping.period


def chunked(comm):
    """Share tiny chunks, so that a step has many and they cut leaves anywhere; return deviations."""
    wrong = []
    small = {"size": 97, "large": 1000}
    grouping_of = usual(comm)
    for size, target in ((2, 64), (comm.size, 256), (comm.size, 1 << 20)):
        model, options = models.mixed(0, 0, **small), {"group_size": size, "sync_period": 7, "quorum": size}
        with (
            changed(layout, CHUNK_BYTES=target, LEAST_CHUNK_BYTES=1),
            wagma_rma.GroupAverager(comm, model, broadcast=False, **options) as averager,
        ):
            grouping = grouping_of(size)
            chunks = Probe(averager).chunks
            for step in range(1, 7):
                mine = models.mixed(comm.rank, step, **small)
                group = grouping.members(comm.rank, step)
                result = averager.average(mine, out=mine)
                if not models.same_bits(
                    result, models.group_mean([models.mixed(rank, step, **small) for rank in group])
                ):
                    wrong.append(f"step {step} with {chunks} chunks: {averager.report}")
                done = comm.allreduce(averager.report.chunks_computed)
                groups = len({grouping.members(rank, step) for rank in range(comm.size)})
                if done != chunks * groups:
                    wrong.append(f"{done} chunks computed, not {chunks} for each of {groups} groups")
    return wrong


def in_blocks(comm):
    """Start with broadcasts that take a few elements at a time, and synchronise; return the values."""
    model = [np.arange(100, dtype=np.float32) + comm.rank, np.full(33, comm.rank, np.float64)]
    with changed(opening, BLOCK=7), wagma_rma.GroupAverager(comm, model) as averager:
        start = [leaf.tolist() for leaf in model]
        mean = averager.synchronize([leaf + comm.rank for leaf in model])
    return start, [leaf.tolist() for leaf in mean]


def contract(comm):
    """Return facts about the API that need no straggler."""
    P, rank = comm.size, comm.rank
    facts = {}
    model = {"w": np.full((4, 3), rank, np.float32), "b": [np.full(2, rank, np.float64)]}
    averager = wagma_rma.GroupAverager(comm, model, sync_period=4, start_step=6, quorum=2)
    facts["broadcast"] = float(model["w"].max() + model["b"][0].max())
    facts["start"] = [averager.step, averager.report.step, averager.report.outcome.name]
    facts["bytes"] = Probe(averager).nbytes == wagma_rma.window_bytes(model, P, sync_period=4)
    mine = {"w": np.full((4, 3), rank + 1, np.float32), "b": [np.full(2, rank, np.float64)]}
    kept = mine["w"].copy()
    result = averager.average(mine)
    facts["group_step"] = [averager.step, averager.report.outcome.name, bool((mine["w"] == kept).all())]
    facts["containers"] = [type(result).__name__, list(result), type(result["b"]).__name__]
    out = {"w": np.empty((4, 3), np.float32), "b": [np.empty(2)]}
    facts["out"] = averager.average(mine, out=out) is out
    facts["synchronized"] = [averager.step, averager.report.outcome.name, float(out["w"].mean())]
    same = averager.synchronize(mine, out=mine)
    facts["explicit"] = [averager.step, same is mine, float(mine["w"].mean()), averager.report.outcome.name]
    statistics = averager.statistics
    facts["statistics"] = [statistics.steps, statistics.fresh, statistics.synchronized]
    # The same array as two leaves, averaged in place: both must come out right, and alike.
    averager.close()
    tied = np.full(5, rank, np.float32)
    with wagma_rma.GroupAverager(comm, [tied, tied], broadcast=False, group_size=P, quorum=P) as other:
        other.average([tied, tied], out=[tied, tied])
    facts["tied"] = float(tied[0])
    return facts


def entangled(comm):
    """Return the largest error for each kind of output that lies where other leaves are read from."""
    count, errors = 200_000, []
    expected = np.mean([np.arange(count, dtype=np.float32) * (rank + 1) for rank in range(comm.size)], axis=0)
    options = {"broadcast": False, "group_size": comm.size, "quorum": comm.size}

    def error(model, out):
        for leaf in model:
            leaf[:] = np.arange(count, dtype=np.float32) * (comm.rank + 1)
        with wagma_rma.GroupAverager(comm, model, **options) as averager:
            averager.average(model, out=out)
        return float(max(np.abs(leaf - expected).max() for leaf in out))

    tied = np.empty(count, np.float32)
    errors.append(error([tied, tied], [tied, tied]))
    longer = np.empty(count + 100, np.float32)
    errors.append(error([longer[:-100]], [longer[100:]]))
    errors.append(error([longer[100:]], [longer[:-100]]))
    one, other = np.empty((2, count), np.float32)
    errors.append(error([one], [other]))
    return errors


def swapped(comm):
    """Return what comes of two leaves, each of which is averaged into the other's place."""
    one, other = np.full(200_000, comm.rank + 1.0), np.full(200_000, comm.rank + 11.0)
    options = {"broadcast": False, "group_size": comm.size, "quorum": comm.size}
    with wagma_rma.GroupAverager(comm, [one, other], **options) as averager:
        averager.average([one, other], out=[other, one])
    return [sorted({*values.tolist()}) for values in (one, other)]


def alone(comm):
    """Average with nobody; return what came of it."""
    results = []
    for options in ({}, {"group_size": 1}):
        model = np.arange(5, dtype=np.float32)
        with wagma_rma.GroupAverager(comm, model, broadcast=False, sync_period=3, **options) as averager:
            for _ in range(6):
                model = averager.average(model, out=model)
            results.append([model.tolist(), averager.statistics.fresh, averager.statistics.synchronized])
    return results


class Reversed:
    """A user's grouping: pairs from both ends, then neighbours."""

    def __init__(self, ranks):
        self.ranks, self.size, self.period = ranks, 2, 2

    def members(self, rank, step):
        other = self.ranks - 1 - rank if step % 2 else rank ^ 1
        return sorted((rank, other))


def own_grouping(comm):
    """Average with a grouping of the user's; return the groups and values of two steps."""
    model = np.array([float(comm.rank)])
    seen = []
    with wagma_rma.GroupAverager(
        comm, model, grouping=Reversed(comm.size), quorum=2, broadcast=False
    ) as averager:
        for _ in range(2):
            model = averager.average(model)
            seen.append([list(averager.report.group), float(model[0])])
    return seen


def beside(comm, synchronize):
    """Rank 0 waits for rank 1, which comes when a thread of rank 0 has counted; return how far that came."""
    count = 0
    model = np.full(3, float(comm.rank))
    options = {"group_size": 2, "quorum": 2, "timeout": 60, "broadcast": False}
    with wagma_rma.GroupAverager(comm, model, **options) as averager:
        step = averager.synchronize if synchronize else averager.average

        def counting():
            nonlocal count
            time.sleep(0.2)  # rank 0 is in the step by then; if it held the GIL this would not end
            for _ in range(100_000):
                count += 1
            comm.send(None, 1)

        if comm.rank == 0:
            thread = threading.Thread(target=counting)
            thread.start()
            mean = step(model)
            thread.join()
        else:
            comm.recv(source=0)
            mean = step(model)
    return count, mean.tolist()


def seldom(comm, group_period, start_step=0):
    """Do steps with a group period, on time; return what differs from numpy, in steps, reports and counts."""
    wrong, period = [], 7
    grouping = usual(comm)(2)
    options = {"group_size": 2, "quorum": grouping.size, "sync_period": period, "group_period": group_period}
    mine = models.mixed(comm.rank, start_step)
    with wagma_rma.GroupAverager(comm, mine, broadcast=False, start_step=start_step, **options) as averager:
        for step in range(start_step + 1, 3 * period + 1):
            mine = models.mixed(comm.rank, step)
            local = step % period != 0 and step % group_period != 0
            out = mine if step % 2 else None
            result = averager.average(mine, out=out)
            outcome = averager.report.outcome
            where = f"P={comm.size} step={step}: {averager.report}"
            if local:
                group = (comm.rank,)
            elif step % period:
                group = tuple(grouping.members(comm.rank, step // group_period))
            else:
                group = tuple(range(comm.size))
            if averager.report.group != group or averager.step != step:
                wrong.append(f"report: {where}")
            if (outcome is wagma_rma.Outcome.LOCAL) != local:
                wrong.append(f"outcome: {where}")
            expected = models.group_mean([models.mixed(rank, step) for rank in group])
            if step % period and not models.same_bits(result, expected):
                wrong.append(f"not numpy's average: {where}")
        counts = averager.statistics
    if counts.local + counts.fresh + counts.synchronized != counts.steps or counts.unpublished:
        wrong.append(f"{counts}")
    return wrong


def pair(rank, step):
    """Return a model of params and of moments, which differ from rank to rank and step to step."""
    random = np.random.default_rng([rank, step, 3])
    moments = [random.normal(size=size).astype(dtype) for size, dtype in ((301, "e"), (40, "d"), (5, "f"))]
    return {"moments": moments, "params": random.normal(size=1000).astype("f")}


def moments_alone(comm, out, group_period=1):
    """Average params in groups, moments at synchronisations only, in one of three ways; return differences.

    Args:
        out: "new", "in place", or "lent".
    """
    wrong, everybody = [], range(comm.size)
    select = {"params": False, "moments": True}
    options = {"sync_period": 4, "group_period": group_period, "group_size": comm.size, "quorum": comm.size}
    with wagma_rma.GroupAverager(comm, pair(comm.rank, 0), select_synchronized=select, **options) as averager:
        if out == "lent":
            result = averager.buffers()
            if not models.same_bits(result, models.leaves(pair(0, 0))):
                wrong.append("the start is not rank 0's")
        for step in range(1, 10):
            mine = given = pair(comm.rank, step)
            if out == "lent":
                for leaf, other in zip(models.leaves(result), models.leaves(mine), strict=True):
                    leaf[...] = other
                given = result
            before = given["moments"][0]
            result = averager.average(given, out=given if out == "in place" else None)
            if (result["moments"][0] is before) != (out != "new"):
                wrong.append(f"step {step}: the moments have moved")
            report, where = averager.report, f"step {step}: {averager.report}"
            mean = models.group_mean([models.leaves(pair(rank, step)) for rank in everybody])
            own = models.leaves(pair(comm.rank, step))
            local = report.outcome is wagma_rma.Outcome.LOCAL
            # In the order of leaves: three of moments, then the params.
            expected = own if local else mean if step % 4 == 0 else [*own[:3], mean[3]]
            found = models.leaves(result)
            near = [1e-2, 1e-12, 1e-5, 1e-5]
            for one, other, tolerance in zip(found, expected, near, strict=True):
                if not np.allclose(one, other, rtol=tolerance, atol=tolerance):
                    wrong.append(f"values: {where}")
            if step % 4 and not models.same_bits(found[:3], own[:3]):
                wrong.append(f"moments that are not as they came: {where}")
            if report.bytes_read > 4 * 1000 * comm.size:
                wrong.append(f"moments were read: {where}")
        # Ranks have other numbers of steps; then all have the mean, of moments too.
        if comm.rank:
            averager.average(pair(comm.rank, 10))
        joined = averager.join(pair(comm.rank, 11))
        alike = comm.allgather([leaf.tobytes() for leaf in models.leaves(joined)])
        mean = models.group_mean([models.leaves(pair(rank, 11)) for rank in everybody])
        if alike != [alike[0]] * comm.size:
            wrong.append("ranks end with different bits")
        if not np.allclose(joined["moments"][1], mean[1]):
            wrong.append("join() has lost the moments")
        for leaf, other in zip(models.leaves(averager.buffers()), models.leaves(joined), strict=True):
            if not np.array_equal(leaf, other):
                wrong.append("buffers() does not hold the newest model")
        nbytes = wagma_rma.window_bytes(
            pair(0, 0),
            comm.size,
            group_size=comm.size,
            sync_period=4,
            group_period=group_period,
            select_synchronized=lambda path, leaf: path.startswith("['moments']"),
        )
        if averager.window == "shared" and averager.bytes != nbytes:
            wrong.append(f"window_bytes() says {nbytes}, and it is {averager.bytes}")
        result = given = before = found = own = joined = None
    return wrong
