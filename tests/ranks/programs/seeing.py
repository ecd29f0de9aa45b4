"""Averagers that are looked at: by their own ranks, by another program, and afterwards."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from tests.support import launch
from tests.support.changes import changed
from tests.support.signals import PATIENT, until
from wagma_rma import GroupAverager, RankLeft, metrics
from wagma_rma.waiting import watch

USUAL = 0.02  # seconds of a step
SLOW, NOW_AND_THEN = 1, 2  # ranks


def compute(rank, step, usual=USUAL):
    """Compute, for a step: rank 1 takes twice as long, rank 2 five times as long at each seventh step."""
    time.sleep(usual * (2 if rank == SLOW else 5 if rank == NOW_AND_THEN and step % 7 == 0 else 1))


def trained(comm, steps, usual=USUAL, **options):
    """Return an averager that has done some steps; step() is of all ranks together at the end."""
    model = np.full(1000, float(comm.rank))
    averager = GroupAverager(comm, model, broadcast=False, timeout=PATIENT, sync_period=10, **options)
    while averager.step < steps:
        compute(comm.rank, averager.step, usual)
        averager.average(model, out=model)
    return averager, model


def verdicts(comm, steps=60, **options):
    """Return what rank 0 sees of all ranks, and how long its look takes, while all compute."""
    averager, _ = trained(comm, steps, **options)
    comm.Barrier()
    began = time.monotonic()
    seen = averager.ranks()
    seconds = time.monotonic() - began
    told = [rank.as_dict() for rank in seen]
    slowest, text, own = seen.slowest()[0].rank, str(seen), averager.status.as_dict()
    pids = comm.allgather(os.getpid())
    comm.Barrier()
    averager.close()
    refused = []
    for look in (averager.ranks, lambda: averager.status):
        try:
            look()
        except RuntimeError as error:
            refused.append(str(error))
    return {"told": told, "slowest": slowest, "text": text, "own": own, "pids": pids, "seconds": seconds,
            "refused": refused}  # fmt: skip


def from_a_thread(comm):
    """Return what a thread of rank 0 sees while its main thread waits in a synchronisation for rank 1."""
    model = np.zeros(1000)
    averager = GroupAverager(comm, model, timeout=PATIENT)
    seen = []

    def look():
        until(lambda: averager.ranks()[0].state == "synchronizing")
        time.sleep(0.1)
        seen.append([(rank.state, rank.step, rank.seconds) for rank in averager.ranks()])
        comm.send("go on", 1)

    thread = threading.Thread(target=look) if comm.rank == 0 else None
    if thread is not None:
        thread.start()
    elif comm.rank == 1:
        comm.recv(source=0)
    averager.synchronize(model)
    if thread is not None:
        thread.join()
    comm.Barrier()
    averager.close()
    return seen


def warned(comm):
    """Return what rank 0 is warned of while it waits for rank 1, and the error of its timeout."""
    warnings = []

    class Keep(logging.Handler):
        def emit(self, record):
            warnings.append(record.getMessage())

    keep = Keep()
    logger = logging.getLogger("wagma_rma")
    logger.addHandler(keep)
    error = ""
    with changed(watch, WARN_EVERY=0.2):
        averager, model = trained(comm, 20)
        if comm.rank == 1:
            comm.recv(source=0)
        elif comm.rank == 0:
            averager.timeout = 0.5
            try:
                averager.synchronize(model)
            except TimeoutError as found:
                error = str(found)
            averager.timeout = PATIENT
            comm.send("go on", 1)
        averager.synchronize(model)
        averager.close()
    logger.removeHandler(keep)
    return warnings, error, comm.allgather(os.getpid())


def watched(comm, arguments=("--once",)):
    """Return what `python -m wagma_rma watch` prints at rank 0, by arguments; all ranks sleep meanwhile."""
    averager, _ = trained(comm, 30)
    printed = []
    comm.Barrier()
    if comm.rank == 0:
        for words in ([str(os.getpid()), "--once"], [str(os.getpid()), "--once", "--json"], ["1", "--once"]):
            command = [sys.executable, "-m", "wagma_rma", "watch", *words]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=launch.ROOT)
            printed.append([done.returncode, done.stdout, done.stderr])
    comm.Barrier()
    averager.close()
    return printed


def left_or_died(comm, how):
    """Rank 1 leaves or dies; return what rank 0 sees of it (ranks of their own)."""
    averager, _ = trained(comm, 5)
    comm.Barrier()
    if comm.rank == 1:
        if how == "dead":
            os.kill(os.getpid(), signal.SIGKILL)
        averager.__exit__(ValueError, ValueError("no data"), None)
        comm.recv(source=0)
    else:
        until(lambda: averager.ranks()[1].state == how)
        print(f"seen: {averager.ranks()[1].state}", flush=True)
        if how == "left":
            comm.send("go on", 1)
        else:
            comm.Abort(1)  # MPI can't end without the dead rank
    os._exit(0)


def traced(comm, steps, folder, usual=USUAL, **options):
    """Train with a trace; return each rank's reports and the statistics at the end."""
    path = Path(folder, "run.json")
    model = np.full(1000, float(comm.rank))
    reports = []
    with GroupAverager(
        comm, model, broadcast=False, timeout=PATIENT, sync_period=10, trace=path, **options
    ) as averager:
        while averager.step < steps:
            compute(comm.rank, averager.step, usual)
            averager.average(model, out=model)
            report = averager.report
            reports.append([report.step, report.outcome.name, report.source_step, list(report.group),
                            list(report.ages), report.bytes_read, report.seconds_waited])  # fmt: skip
    return reports


def trace_of_a_run_that_breaks(comm, folder):
    """Rank 1 leaves after some steps; return what the others are told."""
    path = Path(folder, "run.json")
    model = np.zeros(10)
    told = ""
    try:
        with GroupAverager(comm, model, timeout=PATIENT, trace=path, sync_period=4) as averager:
            for step in range(8):
                if comm.rank == 1 and step == 5:
                    raise ZeroDivisionError("the user's own")
                averager.average(model, out=model)
    except (ZeroDivisionError, RankLeft) as error:
        told = type(error).__name__
    return told


def trace_cut_short(comm, folder, interrupted):
    """One rank is interrupted at each wait of the gathering; return how often."""
    path = Path(folder, "run.json")
    averager = GroupAverager(comm, np.zeros(10), timeout=PATIENT, trace=path, sync_period=4)
    for _ in range(8):
        averager.average(np.zeros(10))
    tracer = averager._steps.parts.tracer
    wait, times = tracer._wait, 0
    waits = set()

    def interrupts(test):
        nonlocal times
        if comm.rank == interrupted and id(test.__self__) not in waits:
            waits.add(id(test.__self__))
            times += 1
            raise KeyboardInterrupt
        wait(test)

    tracer._wait = interrupts
    while True:
        try:
            averager.close()
            return times
        except KeyboardInterrupt:
            pass


def trace_not_written(comm, folder):
    """The file becomes a folder before close(); return what is logged."""
    path = Path(folder, "run.json")
    logged = []

    class Keep(logging.Handler):
        def emit(self, record):
            logged.append(record.getMessage())

    keep, logger = Keep(), logging.getLogger("wagma_rma")
    logger.addHandler(keep)
    with GroupAverager(comm, np.zeros(10), timeout=PATIENT, trace=path) as averager:
        averager.average(np.zeros(10))
        if comm.rank == 0:
            path.mkdir()
    logger.removeHandler(keep)
    return " ".join(logged)


def trace_of_a_broken_averager(comm, folder):
    """Ranks wait for each other at different steps, then all close; return what close() raises."""
    path = Path(folder, "run.json")
    averager = GroupAverager(comm, np.zeros(10), timeout=PATIENT, trace=path, sync_period=100, group_size=1)
    for _ in range(3 + comm.rank):
        averager.average(np.zeros(10))
    told = []
    for call in (lambda: averager.synchronize(np.zeros(10)), averager.close):
        try:
            call()
        except Exception as error:
            told.append(type(error).__name__)
    return told[1:]


def trace_by_environment(comm, folder):
    """Two averagers of a program, traced by the variable."""
    os.environ["WAGMA_RMA_TRACE"] = str(Path(folder, "named.json.gz"))
    for _ in range(2):
        with GroupAverager(comm, np.zeros(10), timeout=PATIENT) as averager:
            for _ in range(3):
                averager.average(np.zeros(10))
    return sorted(path.name for path in Path(folder).iterdir())


def refused_trace(comm, folder):
    """Return what all ranks are told of a folder that is not there."""
    try:
        GroupAverager(comm, np.zeros(3), trace=Path(folder, "no", "run.json"))
    except ValueError as error:
        return str(error)
    return ""


def measured(comm, folder):
    """Return the metrics of each rank as text, of its file, and its reports and statistics as numbers."""
    averager, _ = trained(comm, 25)
    text, path = metrics.text(averager), metrics.write(averager, folder)
    report, statistics = averager.report.as_dict(), averager.statistics.as_dict()
    found = path.read_text()
    averager.close()
    return {"text": text, "file": found, "report": report, "statistics": json.loads(json.dumps(statistics))}


def rate(comm, steps, usual, folder=None, **options):
    """Return how many steps a second all ranks do, from the first one on; a folder gets the trace."""
    model = np.full(1000, float(comm.rank))
    trace = Path(folder, "run.json") if folder else None
    with GroupAverager(comm, model, broadcast=False, timeout=PATIENT, trace=trace, **options) as averager:
        random = np.random.default_rng(comm.rank)
        comm.Barrier()
        began = time.monotonic()
        while averager.step < steps:
            time.sleep(usual * random.lognormal(0, 0.4) * (1.6 if comm.rank == SLOW else 1))
            averager.average(model, out=model)
        seconds = time.monotonic() - began
    return averager.step / max(comm.allgather(seconds))


def look_at_a_stopped_rank(comm):
    """Rank 1, on another host, is stopped; return what rank 0 sees of it before, meanwhile and afterwards."""
    directory = Path(os.environ["RANKS_DIRECTORY"])
    averager, model = trained(comm, 12)
    comm.Barrier()
    seen = []

    def look():
        began = time.monotonic()
        rank = averager.ranks(timeout=0.5)[1]
        seen.append([rank.state, rank.step, rank.host, rank.pid, time.monotonic() - began])

    if comm.rank == 0:
        look()
        (directory / "stop").touch()
        until((directory / "stopped").exists)
        look()
        look()  # while the first is unanswered
        (directory / "continue").touch()
        until(lambda: averager.ranks(timeout=0.5)[1].state == "computing")
        look()
        comm.send("go on", 1)
    else:
        comm.recv(source=0)
    averager.synchronize(model)
    averager.close()
    return seen


def hosts_apart(comm, folder, steps):
    """Return what rank 0 sees of ranks on two hosts, and where their trace says that each call began.

    All hosts of the test have one clock, so the trace must say what the clock said.
    """
    path = Path(folder, "run.json")
    model = np.full(1000, float(comm.rank))
    began = []
    with GroupAverager(
        comm, model, broadcast=False, timeout=PATIENT, sync_period=5, trace=path, topology=False
    ) as averager:
        while averager.step < steps:
            compute(comm.rank, averager.step)
            began.append(time.monotonic())
            averager.average(model, out=model)
        comm.Barrier()
        seen = [rank.as_dict() for rank in averager.ranks()]
        comm.Barrier()
    return seen, began
