"""Ranks that are late, asleep or stopped."""

import contextlib
import os
import random
import resource
import statistics
import time
from pathlib import Path

import numpy as np

import wagma_rma
from tests.support.changes import changed
from tests.support.checker import Checker, code
from wagma_rma.protocol import layout
from wagma_rma.testing.probe import Probe


def chunks_of(nbytes):
    """Have models cut into chunks of so many bytes, if any are said, in a `with` statement."""
    return changed(layout, CHUNK_BYTES=nbytes, LEAST_CHUNK_BYTES=1) if nbytes else contextlib.nullcontext()


def torture(
    comm,
    size,
    steps,
    period,
    group_size,
    sleeps,
    patience="auto",
    quorum=1,
    sync_quorum=None,
    chunk_bytes=None,
    lent=False,
):
    """Step with random sleeps; return (what was wrong, outcome counts and skipped steps)."""
    rng = random.Random(comm.rank)
    model = np.zeros(size, np.float32)
    out = np.empty_like(model)
    options = {"group_size": group_size, "sync_period": period, "patience": patience, "quorum": quorum}
    options["sync_quorum"] = sync_quorum
    with chunks_of(chunk_bytes), wagma_rma.GroupAverager(comm, model, **options) as averager:
        checker, probe = Checker(averager, comm.rank, comm.size, period, 0), Probe(averager)
        if lent:
            model = averager.buffers()
        while averager.step < steps:
            step = averager.step + 1
            if rng.random() < 0.3:
                time.sleep(rng.random() * sleeps)
            model[:] = code(comm.rank, step)
            if lent:
                # In place now and then, where it must be copied.
                result = model = averager.average(model, out=model if step % 7 == 1 else None)
            else:
                result = averager.average(model, out=model if step % 2 == 1 else out)
            if averager.report.outcome is wagma_rma.Outcome.SYNCHRONIZED:
                checker.meet(comm.allgather(step))
            checker.check(result)
            if averager.step % period == 0:
                comm.Barrier()
                if any(pins := probe.pins()):
                    checker.wrong.append(f"pins {pins} at step {averager.step}")
                if records := probe.unfinished():
                    checker.wrong.append(f"records {records} miscounted at step {averager.step}")
                comm.Barrier()
        counts = averager.statistics
    sums = [counts.fresh, counts.late, counts.missed, counts.synchronized, counts.skipped]
    return checker.wrong, sums


def asleep(comm, group_size, naptime, sleepers=(1,)):
    """Let ranks sleep before step 5 until the others have done all steps before that which synchronises."""
    period = 40
    model = np.zeros(1000, np.float32)
    seconds, facts = [], {}
    others = [rank for rank in range(comm.size) if rank not in sleepers]
    with wagma_rma.GroupAverager(comm, model, group_size=group_size, sync_period=period) as averager:
        checker = Checker(averager, comm.rank, comm.size, period, 0)
        for step in range(1, period):
            if comm.rank in sleepers and step == 5:
                began = time.monotonic()
                time.sleep(naptime)
                while not all(comm.Iprobe(rank) for rank in others):
                    assert time.monotonic() < began + 60, (
                        "the others are not through: they wait for the sleeper"
                    )
                    time.sleep(0.005)
                facts["others were through"] = [comm.recv(source=rank) for rank in others]
                facts["slept"] = time.monotonic() - began
            time.sleep(0.002)
            model[:] = code(comm.rank, step)
            checker.check(averager.average(model))
            report = averager.report
            if comm.rank not in sleepers:
                seconds.append(report.seconds)
            elif step == 5:
                facts["late"] = [report.outcome.name, report.step, report.source_step, list(report.ages)]
        if comm.rank not in sleepers:
            facts["through"] = averager.step
            facts["typical"], facts["slowest"] = statistics.median(seconds), max(seconds)
            for sleeper in sleepers:
                comm.send(comm.rank, sleeper)
        averager.average(model)
    return {"wrong": checker.wrong, **facts}


def progress(comm, sleeps, period, size, group_size, chunk_bytes):
    """Step until the step that a file named last holds, and tell each step in a file that the test maps."""
    directory = Path(os.environ["RANKS_DIRECTORY"])
    done = np.memmap(directory / f"progress.{comm.rank}", np.int64, "w+", shape=(1,))
    rng = random.Random(comm.rank)
    model = np.zeros(size, np.float32)
    options = {"group_size": group_size, "sync_period": period}
    with chunks_of(chunk_bytes), wagma_rma.GroupAverager(comm, model, **options) as averager:
        checker = Checker(averager, comm.rank, comm.size, period, 0)
        step, last = 0, None
        while step != last:
            if last is None and (directory / "last").exists():
                last = int((directory / "last").read_text())
            step += 1
            if sleeps:
                time.sleep(rng.random() * sleeps)
            model[:] = code(comm.rank, step)
            checker.check(averager.average(model, out=model))
            done[0] = step
        comm.Barrier()
        checker.wrong += [f"record {record} miscounted" for record in Probe(averager).unfinished()]
        comm.Barrier()
    return checker.wrong[:5], step


def idle(comm, seconds):
    """Return the CPU seconds this rank uses while it waits in each way a rank can."""

    def cpu():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    used = {}
    model = np.zeros(1000, np.float32)
    with wagma_rma.GroupAverager(
        comm, model, group_size=comm.size, quorum=comm.size, sync_period=3
    ) as averager:
        for name in ("quorum", "asleep between steps", "synchronisation"):
            comm.Barrier()
            before = cpu()
            if name == "asleep between steps":
                time.sleep(seconds)
                used[name] = cpu() - before
            elif comm.rank == 0:
                time.sleep(seconds)
            averager.average(model)
            used.setdefault(name, cpu() - before)
        comm.Barrier()
        before = cpu()
        if comm.rank == 0:
            time.sleep(seconds)
    used["close"] = cpu() - before
    return used
