"""Averagers across hosts: what goes over the network, and how they fare when it, or a host, fails a while."""

import logging
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np

import wagma_rma
from tests.ranks.programs.stragglers import progress
from tests.support.changes import changed
from tests.support.signals import until
from wagma_rma.protocol import layout
from wagma_rma.testing.probe import Probe
from wagma_rma.waiting import watch


def traffic(comm, count, group_size, steps, absent):
    """Return what each report's bytes_over_network is and should be; `absent` ranks come after the others.

    Expected: for each chunk that this rank sums the models of members on other hosts, and for each that a
    member on another host sums, its sum. Again: the models of one chunk more, whose owner takes long.
    """
    model = np.full(count, comm.rank, np.float32)
    found, expected, again, kinds = [], [], [], []
    with wagma_rma.GroupAverager(
        comm,
        model,
        group_size=group_size,
        sync_period=steps + 1,
        broadcast=False,
        # Whoever is there waits for all who come in time, so that these share the work.
        quorum=group_size - len(absent) if group_size == comm.size else group_size,
        patience=0,
    ) as averager:
        probe = Probe(averager)
        hosts, chunks = probe.hosts, probe.chunks
        nbytes = model.nbytes // chunks
        for _ in range(steps):
            comm.Barrier()
            if comm.rank in absent:
                # Those who are in time do all the work.
                while min(probe.published(others(comm, absent))) <= averager.step:
                    time.sleep(0.001)
                time.sleep(0.2)
            averager.average(model, out=model)
            report = averager.report
            assert report.source_step == report.step
            computed = comm.allgather(report.chunks_computed)
            far = [rank for rank in report.group if hosts[rank] != hosts[comm.rank]]
            found.append(report.bytes_over_network)
            expected.append(
                nbytes * (len(far) * report.chunks_computed + sum(computed[rank] for rank in far))
            )
            again.append(nbytes * len(far))
            kinds.append([report.outcome.name, report.bytes_read - report.bytes_over_network])
        statistics = averager.statistics
        averager.synchronize(model)
    assert statistics.bytes_over_network == sum(found)
    return {"found": found, "expected": expected, "again": again, "kinds": kinds, "model": model.nbytes}


def synchronized(comm, count):
    """Return the models that each host has read over the network for a synchronisation, and the mean."""
    model = np.full(count, comm.rank, np.float32)
    with wagma_rma.GroupAverager(comm, model, broadcast=False) as averager:
        mean = averager.synchronize(model)
        of_hosts = comm.allgather((averager.hosts[comm.rank], averager.report.bytes_over_network))
    total = Counter()
    for host, nbytes in of_hosts:
        total[host] += nbytes / model.nbytes
    return [[total[host] for host in sorted(total)], float(mean.min()), float(mean.max())]


def others(comm, ranks):
    return [rank for rank in range(comm.size) if rank not in ranks]


def training(comm, size, period, group_size, warn_every=30.0):
    """Make progress as the test says; return (wrong, warnings)."""
    directory = Path(os.environ["RANKS_DIRECTORY"])
    warnings = []

    class Keep(logging.Handler):
        def emit(self, record):
            warnings.append(record.getMessage())
            (directory / f"warned.{comm.rank}").touch()

    logging.getLogger("wagma_rma").addHandler(Keep())
    logging.getLogger("wagma_rma").propagate = False
    with changed(watch, WARN_EVERY=warn_every):
        wrong, _ = progress(comm, 0.004, period, size, group_size, layout.CHUNK_BYTES)
    return wrong, warnings


def unanswered(comm):
    """Synchronise with a rank whose process the test stops; return what rank 0 is told, and the mean."""
    directory = Path(os.environ["RANKS_DIRECTORY"])
    model = np.full(1000, comm.rank, np.float32)
    averager = wagma_rma.GroupAverager(comm, model, timeout=1, broadcast=False)
    comm.Barrier()
    told = []
    if comm.rank == 1:
        averager.timeout = None  # which would count the time that it is stopped
    else:
        (directory / "stop").touch()
        until((directory / "stopped").exists)
        try:
            averager.synchronize(model)
        except wagma_rma.SynchronizationTimeout as error:
            told.append(str(error))
        if (directory / "end").exists():
            raise ZeroDivisionError("the user's own")
        (directory / "continue").touch()
        averager.timeout = None
    mean = averager.synchronize(model)
    averager.close()
    return told, [float(mean.min()), float(mean.max())]


def quorum_timeout(comm, count):
    """Rank 1 is late for a quorum of both, then there on time; return outcomes and models of both steps."""
    model = np.full(count, comm.rank, np.float32)
    seen = []
    with wagma_rma.GroupAverager(
        comm, model, group_size=2, quorum=2, sync_period=10, timeout=1, broadcast=False
    ) as averager:
        if comm.rank == 1:
            averager.timeout = None
        comm.Barrier()
        if comm.rank == 1:
            time.sleep(2)
        for _ in range(2):
            told = ""
            try:
                averager.average(model, out=model)
            except wagma_rma.SynchronizationTimeout as error:
                told = str(error)
                averager.timeout = None
            report = averager.report
            seen.append([report.step, report.outcome.name, float(model.min()), float(model.max()), told])
            comm.Barrier()
    return seen
