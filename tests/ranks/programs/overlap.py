"""Ranks whose exchanges overlap with what they compute."""

import os
import pickle
import random
import resource
import signal
import threading
import time
from collections import OrderedDict

import numpy as np
from mpi4py import MPI

from tests.ranks.programs.errors import said
from tests.support import models
from tests.support.signals import PATIENT, signal_from, signal_to, until
from wagma_rma import GroupAverager, Outcome
from wagma_rma.testing.probe import Probe


def mine(comm, step):
    """Return what a rank comes with to a step: leaves of all dtypes."""
    return models.mixed(comm.rank, step, size=40, large=3000)


def leaves_of(rank, step):
    return models.leaves(models.mixed(rank, step, size=40, large=3000))


def steps(comm, naps, api="out", period=7, group_period=1, last=28, **options):
    """Step with naps; return what is wrong, at rank 0 for all ranks, and the counts of outcomes."""
    rng = random.Random(comm.rank)
    reports, results, came = {}, {}, {}
    model = mine(comm, 0)
    options |= {"sync_period": period, "group_period": group_period, "overlap": True}
    with GroupAverager(comm, model, **options) as averager:
        probe = Probe(averager)
        lent = averager.buffers() if api == "buffers" else None

        def note(report):
            if report.step:
                reports[report.step] = report

        while averager.step < last:
            step = averager.step + 1
            if rng.random() < 0.3:
                time.sleep(rng.random() * naps)
            if group_period > 1:
                # A LOCAL step may be reported in the place of the group step that is over when it begins.
                averager.state_dict()
                note(probe.group_report())
            model = mine(comm, step)
            if api == "buffers":
                for place, leaf in zip(models.leaves(lent), models.leaves(model), strict=True):
                    place[...] = leaf
                result = lent = averager.average(lent)
            elif api == "in place":
                result = averager.average(model, out=model)
            else:
                result = averager.average(model)
            results[averager.step] = [leaf.copy() for leaf in models.leaves(result)]
            came[averager.step] = step
            note(probe.group_report())
            note(averager.report)
        counts, hosts = averager.statistics, averager.hosts
    all_of_it = comm.gather(pickle.dumps((reports, results, came)))
    wrong = []
    if comm.rank == 0:
        wrong = what_is_wrong([pickle.loads(one) for one in all_of_it], hosts, period, group_period)
    return wrong, [
        counts.fresh,
        counts.late,
        counts.missed,
        counts.local,
        counts.synchronized,
        counts.skipped,
    ]


def what_is_wrong(ranks, hosts, period, group_period):
    """Hold what all ranks got to PROTOCOL.md, "Overlap".

    Args:
        ranks: of each, by step: its reports, its results, and with the model of which step it came.
    """
    wrong = []

    def is_local(step):
        return step % period != 0 and step % group_period != 0

    def published(rank, step):
        return ranks[rank][1][step] if step else leaves_of(0, 0)

    def brought(rank, step):
        """Return the average of a rank's last group step before one, and what it had published there."""
        reports, results, _ = ranks[rank]
        before = max((s for s in results if s < step and not is_local(s)), default=None)
        report = reports.get(before)
        if report is None or report.outcome in (Outcome.MISSED, Outcome.SYNCHRONIZED):
            return None
        if len(report.group) == 1:
            return None
        used = [(r, report.source_step - age) for r, age in zip(report.group, report.ages, strict=True)]
        if report.outcome is Outcome.LATE and (rank, before) not in used:
            used.append((rank, before))
        return models.group_mean([published(r, at) for r, at in used]), published(rank, before)

    def moved(rank, step, came):
        pair = brought(rank, step)
        model = leaves_of(rank, came)
        return model if pair is None else [models.moved(*one) for one in zip(model, *pair, strict=True)]

    for rank, (reports, results, came) in enumerate(ranks):
        for step, result in results.items():
            if step % period == 0:
                everybody = [moved(r, step, of[step]) for r, (_, _, of) in enumerate(ranks)]
                expected = models.mean_over_hosts(everybody, hosts)
            elif is_local(step):
                expected = leaves_of(rank, step)
            else:
                expected = moved(rank, step, came[step])
            if not models.same_bits(result, expected):
                wrong.append(f"rank {rank} at step {step}: {reports.get(step)}")
    return wrong


def pair(comm, **options):
    """Return an averager of a pair that needs both, and a model."""
    options = {"group_size": 2, "quorum": 2, "sync_period": 10, "broadcast": False, **options}
    return GroupAverager(comm, np.zeros(3), overlap=True, **options), np.full(3, float(comm.rank + 1))


def apart(comm):
    """Rank 0 does a step and computes; rank 1 comes when it is told. Return what rank 0 sees."""
    averager, model = pair(comm)
    facts = {}
    if comm.rank == 0:
        facts["first"] = averager.average(model).tolist()
        facts["step"], facts["report"] = averager.step, averager.report.step
        signal_to(comm, 1)
        signal_from(comm, 1)
        began = time.monotonic()
        facts["second"] = averager.average(10 * model).tolist()
        facts["at once"] = time.monotonic() - began < 5
        report = averager.report
        facts["then"] = [averager.step, report.step, report.outcome.name, list(report.ages)]
        signal_to(comm, 1)
    else:
        signal_from(comm, 0)
        averager.average(model)
        signal_to(comm, 0)
        signal_from(comm, 0)
        averager.average(10 * model)
    facts["mean"] = averager.synchronize(np.full(3, 100.0 * comm.rank)).tolist()
    facts["counts"] = [averager.statistics.fresh, averager.statistics.steps]
    averager.close()
    return facts


def local(comm):
    """Do steps that exchange nothing while an exchange waits for the other rank; return what is told."""
    told = []
    options = {"group_size": 2, "quorum": 2, "group_period": 3, "sync_period": 30, "broadcast": False}
    with GroupAverager(comm, np.zeros(3), overlap=True, **options) as averager:

        def step(value):
            found = averager.average(np.full(3, value))
            told.append([averager.step, averager.report.step, averager.report.outcome.name, found[0]])

        for number in range(1, 4):
            if comm.rank == 1 and number == 3:
                signal_from(comm, 0)
            step(comm.rank + number / 4)
        step(10.0)
        step(20.0)
        if comm.rank == 0:
            signal_to(comm, 1)
        averager.state_dict()
        told.append([averager.report.step, averager.report.outcome.name, list(averager.report.ages)])
        step(30.0)
        counts = averager.statistics
    return [told, [counts.steps, counts.local, counts.fresh]]


def timed_out(comm):
    """Rank 1 comes late to a quorum of two: rank 0 computes for longer than its timeout, and then waits."""
    averager, model = pair(comm)
    facts = {}
    if comm.rank == 0:
        averager.timeout = 0.5
        averager.average(model)
        time.sleep(1.0)  # nobody waits
        began = time.monotonic()
        facts["said"] = said(averager.average, model)
        facts["waited"] = time.monotonic() - began
        report = averager.report
        facts["report"] = [averager.step, report.step, report.outcome.name]
        averager.timeout = PATIENT
        signal_to(comm, 1)
    else:
        signal_from(comm, 0)
        averager.average(model)
    facts["second"] = averager.average(10 * model).tolist()
    facts["mean"] = averager.synchronize(model).tolist()
    averager.close()
    return facts


def pressed(comm, waits):
    """Ctrl-C comes while rank 0 waits for the rest of a step, which needs rank 1."""
    averager, model = pair(comm, timeout=PATIENT)
    facts = {}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    calls = {
        "average": lambda: averager.average(model),
        "synchronize": lambda: averager.synchronize(model),
        "complete": lambda: averager.complete(model),
        "buffers": averager.buffers,
        "close": averager.close,
    }
    if comm.rank == 0:
        averager.average(model)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            calls[waits]()
        except KeyboardInterrupt:
            facts["pressed"] = [averager.step, averager.report.outcome.name]
        signal_to(comm, 1)
    else:
        signal_from(comm, 0)
        averager.average(model)
    facts["mean"] = averager.synchronize(model).tolist()
    averager.close()
    return facts


def leaves(comm, how):
    """Rank 1 goes before the step that rank 0's quorum needs, or in the middle of it."""
    averager, model = pair(comm, timeout=PATIENT)
    facts = {}
    if comm.rank == 1:
        try:
            with averager:
                if how == "in the middle":
                    averager.average(model)
                raise ValueError("no data")
        except ValueError:
            return facts
    averager.average(model)
    facts["said"] = said(averager.synchronize, model)
    facts["closed"] = said(averager.close)
    return facts


def dropped(comm, how):
    """Ranks end their work right after a step, in which each needs the other."""
    averager, model = pair(comm, timeout=PATIENT)
    for _ in range(5):
        averager.average(model)
    if how == "close":
        averager.close()
        return said(averager.average, model)[1]
    if how == "synchronize":
        averager.synchronize(model)
        averager.close()
    return ""


def completed(comm):
    """Complete models between two steps, in all ways."""
    averager, model = pair(comm)
    facts = {}
    averager.average(model)
    facts["apart"] = averager.complete(model).tolist()
    facts["again"] = averager.complete(model).tolist()
    averager.average(10 * model)
    facts["in place"] = averager.complete(model, out=model).tolist()
    facts["state"] = averager.state_dict()
    facts["mean"] = averager.synchronize(model).tolist()
    facts["after"] = averager.complete(model).tolist()
    try:
        averager.complete(np.zeros(2))
    except ValueError as error:
        facts["wrong"] = str(error)
    averager.close()
    return facts


def idle(comm, seconds):
    """Return the seconds of CPU that a rank uses while its worker has nothing to do, and while it waits."""
    used = {}
    averager, model = pair(comm)
    averager.average(model)
    averager.complete(model)

    def measure(name):
        comm.Barrier()
        before = resource.getrusage(resource.RUSAGE_SELF)
        time.sleep(seconds)
        after = resource.getrusage(resource.RUSAGE_SELF)
        used[name] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    measure("idle")
    if comm.rank == 0:
        averager.average(model)
    measure("the worker waits")
    if comm.rank == 1:
        averager.average(model)
    averager.close()
    return used


def several(comm):
    """Two averagers in turn, each with a worker, one of some leaves at synchronisations only."""
    options = {"group_size": 2, "quorum": 2, "sync_period": 4, "broadcast": False, "overlap": True}
    model = OrderedDict(w=np.zeros(3), moments=np.zeros(2))
    selected = {"select_synchronized": {"w": False, "moments": True}}
    with (
        GroupAverager(comm, model, **options, **selected) as first,
        GroupAverager(comm, np.zeros(3), **options) as second,
    ):
        told = []
        for step in range(1, 9):
            value = float(10 * step + comm.rank)
            averages = first.average(OrderedDict(w=np.full(3, value), moments=np.full(2, value)))
            other = second.average(np.full(3, -value))
            told.append([averages["w"][0], averages["moments"][0], other[0]])
        return told


def forked(comm):
    """Return what a child says of the averager of its parent, in whose step a worker is."""
    averager, model = pair(comm)
    if comm.rank == 0:
        averager.average(model)
    told = []
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, said(averager.average, model)[1].encode())
        os._exit(0)
    os.waitpid(child, 0)
    told.append(os.read(read, 1000).decode())
    if comm.rank == 1:
        averager.average(model)
    averager.synchronize(model)
    averager.close()
    return told


def second_thread(comm):
    """A second thread calls while the first waits for the rest of a step."""
    averager, model = pair(comm, timeout=PATIENT)
    told = []
    if comm.rank == 0:
        averager.average(model)
        probe = Probe(averager)
        thread = threading.Thread(target=averager.average, args=(model,))
        thread.start()
        until(lambda: probe.is_busy())
        told.append(said(averager.average, model)[1])
        signal_to(comm, 1)
        thread.join()
    else:
        signal_from(comm, 0)
        averager.average(model)
        averager.average(model)
    averager.synchronize(model)
    averager.close()
    return told


def finalized():
    """Finalise MPI in the middle of steps that need the other rank."""
    comm = MPI.COMM_WORLD
    averagers = [pair(comm)[0] for _ in range(3)]
    averagers.pop(1).close()
    for averager in averagers if comm.rank == 0 else []:
        averager.average(np.ones(3))
    MPI.Finalize()
