"""Wrong use of an averager on real ranks: each function returns what its rank was told."""

import contextlib
import functools
import logging
import os
import re
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping

import ml_dtypes
import numpy as np
from mpi4py import MPI

import wagma_rma
from tests.support.changes import changed
from tests.support.signals import PATIENT, SIGNAL, signal_from, signal_to, until
from wagma_rma import GroupAverager
from wagma_rma.mpi import hosts
from wagma_rma.testing import probe
from wagma_rma.testing.probe import Probe
from wagma_rma.waiting import watch
from wagma_rma.windows import shared as shared_window


def said(call, *args, **options):
    """Return [names of the exception's classes, its message], or [[], ""] if the call is served."""
    try:
        call(*args, **options)
    except Exception as error:
        return [[kind.__name__ for kind in type(error).__mro__], str(error)]
    return [[], ""]


def said_closing_first(comm, first, averager):
    """Return what close() says; rank `first` ends it before the others, which have stopped, begin.

    Otherwise it depends on the order of their ends whether rank `first` is told that they have stopped.
    """
    if comm.rank != first:
        comm.recv(source=first)
        return said(averager.close)
    closed = said(averager.close)
    for other in range(comm.size):
        if other != first:
            comm.send(None, other)
    return closed


def nested(value=0.0):
    """Return a model of two leaves, model['b'][0] and model['w']."""
    return {"w": np.full((2, 3), value, np.float32), "b": [np.full(4, value, np.float64)]}


def values(model):
    """Return the distinct numbers of a nested() model."""
    return np.unique(np.concatenate([model["w"].ravel(), model["b"][0]])).tolist()


def still_works(comm):
    """Return the values of a mean over all ranks, made by a new averager; expected: [the mean rank]."""
    with GroupAverager(comm, nested(), timeout=PATIENT) as averager:
        averager.average(nested(7.0))
        return values(averager.synchronize(nested(float(comm.rank))))


@contextlib.contextmanager
def timing_out(averager, seconds):
    """Give an averager another timeout: a short one where somebody is known to stay away, only there."""
    usual = averager.timeout
    averager.timeout = seconds
    try:
        yield
    finally:
        averager.timeout = usual


def free_shared_memory(nbytes):
    """Have so many bytes of shared memory seem to be free, in a `with` statement; None: it can't be told."""
    return changed(shared_window, free_shared_memory=lambda: nbytes)


def shared_bytes():
    """Return how much of /dev/shm this process has mapped: others' jobs fill and empty it meanwhile."""
    total = 0
    with open("/proc/self/maps") as maps:
        for line in maps:
            if "/dev/shm/" in line:
                begin, end = re.match(r"(\w+)-(\w+) ", line).groups()
                total += int(end, 16) - int(begin, 16)
    return total


# Construction.


class OfKeywords(Mapping):
    """A mapping that can't be made from a dict."""

    def __init__(self, **items):
        self.items_ = items

    def __getitem__(self, key):
        return self.items_[key]

    def __iter__(self):
        return iter(self.items_)

    def __len__(self):
        return len(self.items_)


def read_only():
    model = nested()
    model["b"][0].flags.writeable = False
    return model


MODELS = {
    "int64": lambda: {"w": np.arange(3)},
    "uint8": lambda: {"w": np.zeros(3, np.uint8)},
    "complex": lambda: {"w": [np.zeros(3), np.zeros(3, np.complex64)]},
    "bool": lambda: {"w": np.zeros(3, np.bool_)},
    "object": lambda: {"w": np.array([1.0, None], object)},
    "text": lambda: {"w": np.array(["a"])},
    "date": lambda: {"w": np.zeros(1, "datetime64[s]")},
    "longdouble": lambda: {"w": np.zeros(3, np.longdouble)},
    "float": lambda: {"w": (np.zeros(3), 1.5)},
    "numpy scalar": lambda: {"w": np.float32(1.5)},
    "None": lambda: {"w": None},
    "string": lambda: "weights",
    "empty": dict,
    "nothing but containers": lambda: {"w": [], "b": ({},)},
    "mapping that takes no dict": lambda: {"w": OfKeywords(w=np.zeros(3))},
    "other-endian float": lambda: {"w": np.zeros(3, np.dtype(np.float32).newbyteorder())},
    "other-endian int": lambda: {"w": np.zeros(3, np.dtype(np.int32).newbyteorder())},
    "read-only": read_only,
    # Right ones, that differ between ranks.
    "nested": nested,
    "other shape": lambda: {**nested(), "w": np.zeros((3, 2), np.float32)},
    "other dtype": lambda: {**nested(), "w": np.zeros((2, 3), ml_dtypes.bfloat16)},
    "other path": lambda: {"v": nested()["w"], "b": nested()["b"]},
    "more leaves": lambda: {**nested(), "z": np.zeros(1)},
    "fewer leaves": lambda: {"b": nested()["b"]},
}


class Partition:
    """A right grouping, neighbours in pairs; its subclasses are wrong."""

    ranks, size, period = 4, 2, 1

    def members(self, rank, step):
        return [rank & ~1, rank | 1]


class Lacking(Partition):
    def members(self, rank, step):
        return [(rank + 1) % 4]


class Overlapping(Partition):
    def members(self, rank, step):
        return [0, 1] if rank == 0 else sorted({rank, (rank + 1) % 4})


class TooLarge(Partition):
    def members(self, rank, step):
        return range(4)


class Outside(Partition):
    def members(self, rank, step):
        return [rank, rank + 4]


class Doubled(Partition):
    def members(self, rank, step):
        return [rank, rank]


class Fractional(Partition):
    def members(self, rank, step):
        return [float(rank)]


class NotASequence(Partition):
    def members(self, rank, step):
        return None


class OfFewer(Partition):
    ranks = 3


class NoPeriod(Partition):
    period = 0


class OtherPeriod(Partition):
    """Says a period of 1 but changes with the step."""

    def members(self, rank, step):
        return [rank & ~1, rank | 1] if step % 2 else [rank & ~2, rank | 2]


class Raising(Partition):
    """Raises what can't be sent to other ranks: the class has no name that they could import."""

    def members(self, rank, step):
        class Secret(Exception):
            pass

        raise Secret("no groups today")


class RaisingWithTwo(Partition):
    """Raises what can't be made from a message alone."""

    def members(self, rank, step):
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no groups today")


class Nothing:
    """Has nothing that a grouping has."""


class Neighbours(Partition):
    """A right grouping, other than Partition."""

    def members(self, rank, step):
        return [rank & ~2, rank | 2]


GROUPINGS = {
    kind.__name__: kind
    for kind in (
        Partition,
        Lacking,
        Overlapping,
        TooLarge,
        Outside,
        Doubled,
        Fractional,
        NotASequence,
        OfFewer,
        NoPeriod,
        OtherPeriod,
        Raising,
        RaisingWithTwo,
        Neighbours,
        Nothing,
    )
}


def construct(comm, cases):
    """Make an averager for each case, [model, options, other model, other options, ranks of the other].

    Returns what was said in each, and whether an averager can be made afterwards.
    """

    def attempt(model, options):
        options = dict(options)
        if "grouping" in options:
            options["grouping"] = GROUPINGS[options["grouping"]]()
        made = []
        told = said(lambda: made.append(GroupAverager(comm, MODELS[model](), **options)))
        for averager in made:
            averager.timeout = PATIENT
            averager.close()
        return told

    told = []
    for model, options, other_model, other_options, ranks in cases:
        if comm.rank in ranks:
            model, options = other_model, other_options
        told.append(attempt(model, options))
    return {"told": told, "afterwards": still_works(comm)}


def misshapen(comm):
    """Pass what is no communicator: nobody else is asked, so it is an error on this rank alone."""
    halves = comm.Split(comm.rank % 2)
    between = halves.Create_intercomm(0, comm, 1 - comm.rank % 2)
    freed = comm.Dup()
    freed.Free()
    told = {}
    if comm.rank == 1:
        wrong = {"None": None, "a number": 4, "null": MPI.COMM_NULL, "freed": freed, "an intercomm": between}
        told = {name: said(GroupAverager, value, np.zeros(3)) for name, value in wrong.items()}
    between.Free()
    halves.Free()
    return {"told": told, "afterwards": still_works(comm)}


def again_and_again(comm, times):
    """Fail to make an averager so often that communicators which nobody frees would run out."""
    told = {tuple(said(GroupAverager, comm, nested(), quorum=0)[0]) for _ in range(times)}
    return {"told": [list(kinds) for kinds in told], "afterwards": still_works(comm)}


def spanning(comm):
    """Make an averager of ranks that pass for those of two hosts with a shared window, then one across."""
    told = said(GroupAverager, comm, nested(), window="shared")
    return {"told": told, "afterwards": still_works(comm)}


def small_host(comm):
    """Make an averager over two hosts, one of which seems to have next to no shared memory, then another."""
    is_small = hosts.host_numbers(comm)[comm.rank] == 0
    with free_shared_memory(100_000) if is_small else contextlib.nullcontext():
        told = said(GroupAverager, comm, np.zeros(10_000))
    return {"told": told, "afterwards": still_works(comm)}


def pretend_small(comm):
    """Make an averager where 100,000 bytes of shared memory seem to be free, then none can be told."""
    before, held = shared_window.free_shared_memory(), shared_bytes()
    comm.Barrier()
    model = np.zeros(10_000)
    need = wagma_rma.window_bytes(model, comm.size)
    with free_shared_memory(100_000):
        told = said(GroupAverager, comm, model)
    comm.Barrier()
    after, held_after = shared_window.free_shared_memory(), shared_bytes()
    comm.Barrier()
    with free_shared_memory(None):
        unknown = still_works(comm)
    return {
        "told": told,
        "each": need,
        "held": held_after - held,
        "taken": before - after,
        "unknown": unknown,
        "afterwards": still_works(comm),
    }


def no_memory_at_rank_1(comm, floats):
    """Make an averager while rank 1 has no memory left for itself."""
    free, held = shared_window.free_shared_memory(), shared_bytes()
    comm.Barrier()
    with probe.no_memory_for_a_protocol() if comm.rank == 1 else contextlib.nullcontext():
        told = said(GroupAverager, comm, np.zeros(floats))
    comm.Barrier()
    held, taken = shared_bytes() - held, free - shared_window.free_shared_memory()
    comm.Barrier()
    return {
        "told": told,
        "held": held,
        "taken": taken,
        "afterwards": still_works(comm),
    }


def really_small(comm, floats):
    """Make an averager whose windows don't fit into /dev/shm as it is, and then one that fits."""
    free = shared_window.free_shared_memory()
    comm.Barrier()
    told = said(GroupAverager, comm, np.zeros(floats))
    comm.Barrier()
    taken = free - shared_window.free_shared_memory()
    comm.Barrier()
    return {
        "told": told,
        "free": free,
        "each": wagma_rma.window_bytes(np.zeros(floats), comm.size),
        "taken": taken,
        "afterwards": still_works(comm),
    }


def hardly_enough(comm, floats, slacks):
    """Make averagers whose windows would take all of /dev/shm but some pages; touch every byte of those made.

    Returns [what was said, the mean] for each slack.
    """
    need = comm.size * (wagma_rma.window_bytes(np.zeros(floats), comm.size) + 64)
    model = np.full(floats, float(comm.rank))
    outcomes = []
    for slack in slacks:
        mean, averagers = None, []
        comm.Barrier()
        with open("/dev/shm/filler", "w") if comm.rank == 0 else contextlib.nullcontext() as filler:
            if filler is not None:
                rest = shared_window.free_shared_memory() - need - 4096 * slack
                os.posix_fallocate(filler.fileno(), 0, rest // 4096 * 4096)
            comm.Barrier()
            make = functools.partial(GroupAverager, comm, model, group_size=comm.size, broadcast=False)
            told = said(lambda make=make, averagers=averagers: averagers.append(make()))
            for averager in averagers:
                for _ in range(9):
                    averager.average(model)
                mean = np.unique(averager.average(model)).tolist()
                averager.close()
            comm.Barrier()
        outcomes.append([told, mean])
    return outcomes


def filled_later(comm, floats):
    """Fill /dev/shm when an averager has been made; return the mean of steps that touch all its memory.

    No rank calls MPI meanwhile, which takes more memory as it goes on: each group waits for rank 0.
    """
    model = np.full(floats, float(comm.rank))
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": 100, "broadcast": False}
    with (
        GroupAverager(comm, model, **options) as averager,
        open("/dev/shm/filler", "wb", buffering=0) if comm.rank == 0 else contextlib.nullcontext() as filler,
    ):
        if filler is not None:
            with contextlib.suppress(OSError):
                while True:
                    filler.write(bytes(4096))
        for _ in range(12):
            mean = averager.average(model)
        if filler is not None:
            filler.truncate(0)
    return np.unique(mean).tolist()


def dropped_again_and_again(comm, times):
    """Drop so many averagers without close() that communicators, or memory, would run out."""
    free = []
    for _ in range(times):
        averager = GroupAverager(comm, np.zeros(1000))
        averager.average(np.ones(1000))
        del averager
        free.append(shared_window.free_shared_memory())
    return {"taken": max(free[2:]) - min(free[2:]), "afterwards": still_works(comm)}


# Steps.


def other_models():
    """Return models unlike nested(), by what is wrong with them."""
    right = nested(5.0)
    w, b = right["w"], right["b"][0]
    return {
        "extra leaf": {**right, "z": np.zeros(2)},
        "extra leaf before": {**right, "a": np.zeros(2)},
        "missing leaf": {"b": [b]},
        "missing leaf before": {"w": w},
        "other name": {"v": w, "b": [b]},
        "longer list": {"w": w, "b": [b, b]},
        "shorter list": {"w": w, "b": []},
        "leaf for list": {"w": w, "b": b},
        "list for leaf": {"w": [w], "b": [b]},
        "list for dict": [[b], w],
        "array alone": w,
        "nothing": {},
        "None": None,
        "other shape": {"w": w.reshape(3, 2), "b": [b]},
        "other rank": {"w": w.ravel(), "b": [b]},
        "other dtype": {"w": w.astype(np.float64), "b": [b]},
        "integers": {"w": w.astype(np.int32), "b": [b]},
        "float": {"w": 5.0, "b": [b]},
        "other-endian": {"w": w, "b": [b.astype(b.dtype.newbyteorder())]},
    }


def other_outputs():
    """Return outputs unlike nested(), by what is wrong with them."""
    frozen = read_only()
    shape = {"w": np.zeros((3, 2), np.float32), "b": [np.zeros(4)]}
    return {
        "read-only": frozen,
        "missing leaf": {"b": [np.zeros(4)]},
        "extra leaf": {**nested(), "z": np.zeros(2)},
        "other shape": shape,
        "other dtype": {**nested(), "w": np.zeros((2, 3))},
        "other container": [[np.zeros(4)], np.zeros((2, 3), np.float32)],
        "array alone": np.zeros(4),
        "float": {**nested(), "w": 0.0},
    }


def attempts(call):
    """Return what is said of each wrong model, and of each wrong output for a right model."""
    return {
        "model": {name: said(call, model) for name, model in other_models().items()},
        "out": {name: said(call, nested(5.0), out=out) for name, out in other_outputs().items()},
    }


def wrong_group_steps(comm):
    """Rank 1 comes with wrong models at a group step while the others go on; then it goes on too."""
    averager = GroupAverager(comm, nested(), group_size=comm.size, patience=0, sync_period=6, timeout=PATIENT)
    told, steps, untouched = {}, [], None
    if comm.rank == 1:
        comm.Barrier()
        for _ in range(2):
            averager.average(nested(1.0))
        steps.append(averager.step)
        report = averager.report
        told = attempts(averager.average)
        frozen = read_only()
        said(averager.average, nested(5.0), out=frozen)
        untouched = values(frozen)
        steps.append(averager.step)
        same_report = averager.report == report
        comm.Barrier()
    else:
        # The others do all their steps to the next synchronisation, whatever rank 1 does meanwhile.
        for _ in range(5):
            averager.average(nested(1.0))
        steps.append(averager.step)
        same_report = None
        comm.Barrier()
        comm.Barrier()
    while averager.step < 5:
        averager.average(nested(1.0))
    mean = values(averager.average(nested(float(comm.rank))))
    steps.append(averager.step)
    counts = averager.statistics
    averager.close()
    return {
        "told": told,
        "steps": steps,
        "same_report": same_report,
        "untouched": untouched,
        "mean": mean,
        "counted": [counts.steps, counts.synchronized],
    }


def other_containers(comm):
    """Come with the same leaves at the same places of other containers."""
    leaf = np.zeros(3, np.float32)
    kinds = {"list": [leaf], "tuple": (leaf,), "dict": {0: leaf}}
    told = {}
    for made_for in kinds:
        for come_with in kinds:
            with GroupAverager(comm, kinds[made_for], broadcast=False) as averager:
                told[f"{come_with} for {made_for}"] = said(averager.average, kinds[come_with])
    return told


def wrong_synchronizations(comm, culprit):
    """The culprit comes with wrong models at a synchronising step, again and again, then with a right one."""
    averager = GroupAverager(comm, nested(), sync_period=3, timeout=PATIENT)
    for _ in range(2):
        averager.average(nested(1.0))
    mine = float(comm.rank)
    told = {"model": {}, "out": {}}
    for name, model in other_models().items():
        told["model"][name] = said(averager.average, model if comm.rank == culprit else nested(mine))
        if averager.step > 2:
            return {"told": told}  # it was served
    for name, out in other_outputs().items():
        out = out if comm.rank == culprit else nested()
        told["out"][name] = said(averager.average, nested(mine), out=out)
        if averager.step > 2:
            return {"told": told}
    refused_at = averager.step
    mean = averager.average(nested(mine))
    counts = averager.statistics
    later = [values(averager.average(nested(mine))) for _ in range(3)][-1]
    averager.close()
    return {
        "told": told,
        "steps": [refused_at, averager.step],
        "mean": values(mean),
        "counted": [counts.steps, counts.synchronized],
        "later": later,
    }


def two_culprits(comm):
    """Ranks 1 and 2 are wrong, each in its own way, at the same synchronisation."""
    with GroupAverager(comm, nested(), timeout=PATIENT) as averager:
        model = {1: nested()["w"], 2: {**nested(), "w": np.zeros(1, np.float32)}}.get(comm.rank, nested())
        told = said(averager.synchronize, model)
        return {"told": told, "mean": values(averager.synchronize(nested(float(comm.rank))))}


def refused_then_group_steps(comm):
    """A synchronize() that all ranks refuse, and then group steps up to the next synchronisation."""
    with GroupAverager(comm, nested(), sync_period=4, timeout=PATIENT) as averager:
        mine = float(comm.rank)
        averager.average(nested(mine))
        told = [
            said(averager.synchronize, None if comm.rank == culprit else nested(mine)) for culprit in (2, 0)
        ]
        step = averager.step
        for _ in range(2):
            averager.average(nested(mine))
        outcome = averager.report.outcome.name
        mean = values(averager.average(nested(mine)))
        return {
            "told": told,
            "steps": [step, averager.step],
            "outcomes": [outcome, averager.report.outcome.name],
            "mean": mean,
        }


def refused_then_parted(comm):
    """After a synchronize() that all refuse rank 0 tries again, while the others go on with group steps."""
    averager = GroupAverager(comm, nested(), sync_period=4, patience=0)
    refused = said(averager.synchronize, None if comm.rank == 2 else nested())
    if comm.rank == 0:
        told = said(averager.synchronize, nested())
    else:
        until(lambda: Probe(averager).has_arrived(0, 1, attempt=1))
        for _ in range(3):
            averager.average(nested())
        told = said(averager.average, nested())
    comm.Barrier()  # nobody closes before all have been told
    averager.close()
    return {"refused": refused, "told": told, "afterwards": still_works(comm)}


def back_in_the_middle(comm, comes_with):
    """Rank 0 comes back, with a "right" or "wrong" model, to a synchronisation begun with a right one.

    Rank 1 has arrived, is interrupted, and comes back late; so rank 0 has seen all arrive, but the
    synchronisation isn't over when its timeout sends it back to its caller.
    """
    averager = GroupAverager(comm, nested(), timeout=PATIENT)
    mine = nested(float(comm.rank))
    told = []
    comm.Barrier()
    if comm.rank == 1:
        interrupted(averager.synchronize, mine, once=lambda: Probe(averager).awaits_arrivals())
        signal_to(comm, 0)
        signal_from(comm, 0)
    elif comm.rank == 2:
        signal_from(comm, 0)
    else:
        signal_from(comm, 1)
        with timing_out(averager, 0.4):
            told.append(said(averager.synchronize, mine))  # rank 2 is missing
            signal_to(comm, 2)
            until(lambda: Probe(averager).has_arrived(2, 1))
            told.append(said(averager.synchronize, mine))  # all have arrived
            wrong = other_models()["other shape"]
            while comes_with == "wrong" and told[-1][0][:1] == ["SynchronizationTimeout"]:
                told.append(said(averager.synchronize, wrong))
        signal_to(comm, 1)
    errors, mean = [], None
    while mean is None and averager.step == 0:
        try:
            mean = values(averager.synchronize(mine))
        except wagma_rma.SynchronizationTimeout:
            pass
        except ValueError as error:
            errors.append(str(error))
    averager.close()
    return {"told": told, "errors": errors, "mean": mean, "step": averager.step}


class Slow:
    """A barrier, or a reduction, that sleeps.

    Args:
        real: which one.
        method: before which call, or after which one that returns true.
        seconds: how long.
    """

    def __init__(self, real, method, seconds):
        self._real, self._method, self._seconds = real, method, seconds

    def __getattr__(self, name):
        attribute = getattr(self._real, name)
        return functools.partial(self._sleep, attribute) if name == self._method else attribute

    def _sleep(self, call, *arguments):
        if self._method == "collect":
            time.sleep(self._seconds)
        found = call(*arguments)
        time.sleep(self._seconds * bool(found))
        return found


def slow_to_hear_of_a_refusal(comm, quorum):
    """Rank 2 leaves a refused synchronisation when the others are steps ahead, or wait for it."""
    with GroupAverager(
        comm, nested(), group_size=3, quorum=quorum, sync_period=4, timeout=PATIENT
    ) as averager:
        if comm.rank == 2:
            Probe(averager).replace_barrier(lambda real: Slow(real, "is_over", 0.5))
        mine = float(comm.rank)
        averager.average(nested(mine))
        told = said(averager.synchronize, None if comm.rank == 0 else nested(mine))
        for _ in range(2):
            averager.average(nested(mine))
        return {"told": told, "mean": values(averager.average(nested(mine))), "step": averager.step}


def slow_to_publish(comm, refusals):
    """Synchronise, after some refusals of the same step, with a rank that is slow to publish the mean."""
    averager = GroupAverager(comm, nested(), group_size=comm.size, sync_period=50, timeout=PATIENT)
    if comm.rank == 1:
        Probe(averager).replace_reduction(lambda real: Slow(real, "collect", 0.4))
    averager.average(nested(1.0))
    for _ in range(refusals):
        said(averager.synchronize, None if comm.rank == 1 else nested())
    comm.Barrier()
    started = time.monotonic()
    averager.synchronize(nested(float(comm.rank)))
    seconds = time.monotonic() - started
    averager.average(nested(1.0))
    averager.close()
    return {"seconds": seconds, "ages": averager.report.ages, "step": averager.step}


# The end, and use at the wrong time.


def closed(comm):
    """Use an averager after close()."""
    averager = GroupAverager(comm, nested(), sync_period=5)
    averager.average(nested(3.0))
    averager.close()
    told = {
        "average": said(averager.average, nested()),
        "synchronize": said(averager.synchronize, nested()),
        "average in place": said(averager.average, nested(), out=nested()),
    }
    # The others are long gone when rank 0 closes for the second time: that must not wait for them.
    again = said(averager.close) if comm.rank == 0 else None
    comm.Barrier()
    with GroupAverager(comm, nested()) as another:
        another.average(nested())
    return {
        "told": told,
        "again": again,
        "step": averager.step,
        "report": averager.report.outcome.name,
        "steps": averager.statistics.steps,
        "context": said(another.average, nested()),
        "entering": said(another.__enter__),
        "afterwards": still_works(comm),
    }


def leaving_with_an_error(comm):
    """Rank 1 leaves its with block by an exception; what it and the others are told after that."""
    averager = GroupAverager(comm, nested(), timeout=PATIENT)
    seconds = 0.0
    if comm.rank == 1:
        started = time.monotonic()
        try:
            with averager:
                raise KeyError("the user's own")
        except KeyError as error:
            seconds = time.monotonic() - started
            assert "the user's own" in str(error)
    comm.Barrier()
    told = said(averager.synchronize, nested())
    closed = [said(averager.close) for _ in range(2)]
    return {"told": told, "closed": closed, "seconds": seconds, "afterwards": still_works(comm)}


def two_threads(comm):
    """A second thread uses an averager that waits in the first."""
    averager = GroupAverager(comm, nested(), timeout=PATIENT)
    told, means = {}, []
    if comm.rank == 0:
        waiting = threading.Thread(
            target=lambda: means.append(values(averager.synchronize(nested(float(comm.rank)))))
        )
        waiting.start()
        until(lambda: Probe(averager).awaits_arrivals())
        told = {
            "average": said(averager.average, nested()),
            "synchronize": said(averager.synchronize, nested()),
            "close": said(averager.close),
            # To look is allowed.
            "report": said(lambda: averager.report),
            "statistics": said(lambda: averager.statistics),
            "step": averager.step,
        }
        comm.Barrier()
        waiting.join()
    else:
        comm.Barrier()
        means.append(values(averager.synchronize(nested(float(comm.rank)))))
    averager.average(nested())
    averager.close()
    return {"told": told, "mean": means[0]}


def other_steps(comm, early, automatic):
    """Some ranks synchronise at step 2, the others at step 4, by average() if automatic."""
    averager = GroupAverager(comm, nested(), sync_period=4 if automatic else 10, patience=0)
    averager.average(nested())
    if comm.rank not in early:
        for _ in range(2):
            averager.average(nested())
    last = automatic and comm.rank not in early
    told = said(averager.average if last else averager.synchronize, nested())
    later = {
        "average": said(averager.average, nested()),
        "synchronize": said(averager.synchronize, nested()),
    }
    step = averager.step
    comm.Barrier()  # nobody closes before all have been told
    averager.close()
    return {
        "told": told,
        "later": later,
        "closed": said(averager.average, nested()),
        "step": step,
        "afterwards": still_works(comm),
    }


def quorum_and_synchronize(comm, late):
    """Rank 0 synchronises at a step at which the others wait for it as a member of their group.

    If `late`, rank 2 comes when rank 1's wait has been cut short and has opened the record.
    """
    averager = GroupAverager(comm, nested(), group_size=comm.size, quorum=comm.size)
    if late and comm.rank == 2:
        signal_from(comm, 1)
    told = said(averager.synchronize if comm.rank == 0 else averager.average, nested())
    if late and comm.rank == 1:
        signal_to(comm, 2)
    comm.Barrier()  # nobody closes before all have been told
    averager.close()
    return {"told": told}


def quorum_and_close(comm):
    """Rank 0 closes while the others wait for it as a member of their group."""
    averager = GroupAverager(comm, nested(), group_size=comm.size, quorum=comm.size)
    told = [[], ""] if comm.rank == 0 else said(averager.average, nested())
    closed = said_closing_first(comm, 0, averager)
    return {"told": told, "closed": closed, "afterwards": still_works(comm)}


def closing_early(comm):
    """Rank 1 of three closes while the others synchronise."""
    averager = GroupAverager(comm, nested())
    told = [[], ""]
    if comm.rank != 1:
        told = said(averager.synchronize, nested())
        later = said(averager.average, nested())
        # Whoever closes first would be named to the other.
        comm.sendrecv(None, 2 - comm.rank, source=2 - comm.rank)
    else:
        until(lambda: Probe(averager).has_arrived(0, 1) and Probe(averager).has_arrived(2, 1))
        later = None
    closed = said_closing_first(comm, 1, averager)
    return {"told": told, "later": later, "closed": closed, "afterwards": still_works(comm)}


def closing_after_arriving(comm):
    """Rank 0 arrives to synchronise, is interrupted, and closes; rank 1 has seen it; rank 2 is late."""
    averager = GroupAverager(comm, nested())
    told = [[], ""]
    if comm.rank == 0:
        told = interrupted(averager.synchronize, nested(), once=lambda: comm.Iprobe(1, SIGNAL))[1]
        signal_from(comm, 1)
    else:
        if comm.rank == 1:
            until(lambda: Probe(averager).has_arrived(0, 1))

            def tell_when_it_waits_for_rank_2():
                until(lambda: Probe(averager).awaits_arrivals())
                signal_to(comm, 0)

            threading.Thread(target=tell_when_it_waits_for_rank_2).start()
        else:
            until(lambda: Probe(averager).is_closed(0))
        told = said(averager.synchronize, nested())
        comm.sendrecv(None, 3 - comm.rank, source=3 - comm.rank)  # neither closes before both have been told
    closed = said_closing_first(comm, 0, averager)
    return {"told": told, "closed": closed, "afterwards": still_works(comm)}


def cut_short_closing(comm):
    """Rank 0 closes, gives up waiting for the others, and would use the averager again."""
    averager = GroupAverager(comm, nested(), timeout=PATIENT)
    told = {}
    if comm.rank == 0:
        with timing_out(averager, 0.3):
            told["close"] = said(averager.close)
        told["average"] = said(averager.average, nested())
        told["synchronize"] = said(averager.synchronize, nested())
    comm.Barrier()
    averager.close()
    return {"told": told, "afterwards": still_works(comm)}


def broken_and_cut_short_closing(comm):
    """Ranks that met at different steps close before rank 1 does, and would go on."""
    averager = GroupAverager(comm, nested(), timeout=PATIENT, patience=0)
    if comm.rank == 0:
        averager.average(nested())
    said(averager.synchronize, nested())
    told = {}
    if comm.rank != 1:
        told["close"] = said(averager.close)
        told["average"] = said(averager.average, nested())
    comm.Barrier()
    averager.close()
    return {"told": told, "afterwards": still_works(comm)}


# Waiting.


def absent(comm):
    """The last rank stays away until each of the others, calling again, has had two timeouts.

    Those before all the others had arrived are told apart: they name these too.
    """
    averager = GroupAverager(comm, nested(), timeout=0.5)
    for _ in range(3):
        averager.average(nested())
    comm.Barrier()
    last = comm.size - 1
    present = [rank for rank in range(last) if rank != comm.rank]
    if comm.rank == last:
        signal_from(comm, *range(last))
    told, early, took, mean = [], [], [], None
    model = nested(float(comm.rank))
    while mean is None:
        complete = all(Probe(averager).has_arrived(rank, 4) for rank in present)
        started = time.monotonic()
        try:
            mean = averager.synchronize(model, out=model)
        except TimeoutError as error:
            seconds = time.monotonic() - started
            if comm.rank == last or len(told) == 2:
                continue  # all are on their way now, and may be slow
            (told if complete else early).append(
                [[kind.__name__ for kind in type(error).__mro__], str(error)]
            )
            took.append(seconds)
            assert averager.step == 3
            if len(told) == 2:
                signal_to(comm, last)
    outcome = averager.report.outcome.name
    averager.close()
    return {
        "told": told,
        "early": early,
        "took": took,
        "mean": values(mean),
        "in place": mean is model,
        "step": averager.step,
        "outcome": outcome,
    }


def absent_at_the_end(comm):
    """The last rank stays away until the others have had a timeout in close(), and call it again."""
    averager = GroupAverager(comm, nested(), timeout=0.3)
    averager.average(nested())
    comm.Barrier()
    last = comm.size - 1
    if comm.rank == last:
        signal_from(comm, *range(last))
    told = []
    while not told or told[-1][0]:
        told.append(said(averager.close))
        if comm.rank != last and len(told) == 1:
            signal_to(comm, last)
    return {"told": told, "afterwards": said(averager.average, nested())}


def absent_from_a_group(comm):
    """Rank 1 stays away while rank 0 waits for it, since the quorum is the whole group."""
    averager = GroupAverager(comm, nested(), group_size=2, quorum=2, timeout=PATIENT, broadcast=False)
    averager.average(nested(1.0))
    comm.Barrier()
    facts = {}
    if comm.rank == 0:
        model, apart = nested(3.0), nested(9.0)
        with timing_out(averager, 0.4):
            facts["told"] = said(averager.average, model, out=model)
            facts["model"] = values(model)
            facts["report"] = [averager.report.outcome.name, averager.report.step]
            facts["step"] = averager.step
            # Not in place: into the output comes what the caller came with, contiguous or not.
            facts["again"] = said(averager.average, model, out=apart)
            facts["out"] = values(apart)
            strided = {"w": np.full((2, 6), 9.0, np.float32)[:, ::2], "b": [np.full(8, 9.0)[::2]]}
            said(averager.average, model, out=strided)
            facts["strided"] = values(strided)
        facts["missed"] = averager.statistics.missed
        comm.Barrier()
    else:
        comm.Barrier()
        for _ in range(3):
            averager.average(nested(5.0))
    facts["group mean"] = values(averager.average(nested(float(comm.rank))))
    facts["outcome"] = averager.report.outcome.name
    facts["mean"] = values(averager.synchronize(nested(float(comm.rank))))
    averager.close()
    return facts


class Records(logging.Handler):
    """Keep what is logged, and the seconds since the wait began; `enough` is called at the second record."""

    def __init__(self):
        super().__init__()
        self.begin(lambda: None)

    def begin(self, enough):
        self.kept, self._enough, self._began = [], enough, time.monotonic()

    def emit(self, record):
        self.kept.append([record.levelname, record.getMessage(), time.monotonic() - self._began])
        if len(self.kept) == 2:
            self._enough()


def warned(comm):
    """A rank stays away until the others have been warned twice, in a synchronisation and in close()."""
    records = Records()
    logging.getLogger("wagma_rma").addHandler(records)
    default = watch.WARN_EVERY
    told = {}
    with changed(watch, WARN_EVERY=0.2):
        averager = GroupAverager(comm, nested())
        averager.average(nested())
        for during, absent in (("synchronize", comm.size - 1), ("close", 0)):
            comm.Barrier()
            others = [rank for rank in range(comm.size) if rank != absent]
            records.begin(lambda absent=absent: comm.rank == absent or signal_to(comm, absent))
            if comm.rank == absent:
                signal_from(comm, *others)
            if during == "synchronize":
                averager.synchronize(nested())
            else:
                averager.close()
            told[during] = records.kept
    return {"default": default, **told}


def interrupted(call, *args, once, **options):
    """Call, with Ctrl-C once a condition holds; return [seconds until it has come through, what came].

    Another thread looks for the condition, and only one at a time may look at an averager's window.
    """
    sent = []

    def press():
        until(once)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    # A shell that starts mpiexec in the background has SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pressing = threading.Thread(target=press)
    pressing.start()
    try:
        call(*args, **options)
        came = "nothing"
    except KeyboardInterrupt:
        came = "KeyboardInterrupt"
    passed = time.monotonic()
    pressing.join()
    return [passed - sent[0], came]


def control_c(comm):
    """Press Ctrl-C on rank 0 while rank 1 sees it wait: in a synchronisation, for a quorum, at the end."""
    averager = GroupAverager(comm, nested(), group_size=comm.size, quorum=comm.size, broadcast=False)
    mine = nested(float(comm.rank))
    facts = {}

    def while_it_waits(call, *args, seen_by_rank_1, **options):
        """Return what interrupted() returns, at rank 0."""
        told = None
        if comm.rank == 0:
            told = interrupted(call, *args, once=lambda: comm.Iprobe(1, SIGNAL), **options)
            signal_from(comm, 1)
        elif comm.rank == 1:
            until(seen_by_rank_1)
            signal_to(comm, 0)
        comm.Barrier()
        return told

    facts["synchronize"] = while_it_waits(
        averager.synchronize, mine, seen_by_rank_1=lambda: Probe(averager).has_arrived(0, 1)
    )
    facts["after synchronize"] = averager.step
    facts["mean"] = values(averager.synchronize(mine))

    comm.Barrier()
    model = nested(3.0)
    facts["average"] = while_it_waits(
        averager.average, model, out=model, seen_by_rank_1=lambda: Probe(averager).published([0]) == [2]
    )
    if comm.rank == 0:
        facts["model"] = values(model)
        facts["after average"] = [averager.step, averager.report.outcome.name]
    else:
        averager.average(nested(1.0))
    facts["group mean"] = values(averager.average(mine))
    facts["outcome"] = averager.report.outcome.name

    comm.Barrier()
    facts["close"] = while_it_waits(averager.close, seen_by_rank_1=lambda: Probe(averager).is_closed(0))
    averager.close()
    facts["closed"] = said(averager.average, mine)
    return facts


def control_c_at_construction(comm):
    """Press Ctrl-C on rank 0 while it waits for the others to make their averagers too."""
    told = None
    if comm.rank == 0:
        told = interrupted(GroupAverager, comm, nested(), once=probe.waits_for_communicator)
        for rank in range(1, comm.size):
            comm.send("go on", rank)
    else:
        comm.recv(source=0)
        # What rank 0 has begun on this communicator its ranks must all take part in.
        copy, request = comm.Idup()
        request.Wait()
        copy.Free()
    comm.Barrier()
    return {"told": told, "afterwards": still_works(comm)}


def control_c_anywhere(comm, seed, rounds, floats, enough, most):
    """Press Ctrl-C on rank 0 at any moment of many synchronisations; it calls again until it is through.

    Goes on after `rounds` of them until Ctrl-C has come out of `enough` calls, but not beyond `most`. Returns
    how often it came, and the means that were wrong.
    """
    averager = GroupAverager(comm, np.zeros(floats), timeout=PATIENT)
    rng = np.random.default_rng(seed)
    came, wrong, typical = 0, [], 0.02

    def pressed(signum, frame):
        while frame is not None and "/wagma_rma/" not in frame.f_code.co_filename:
            frame = frame.f_back
        if frame is not None:  # else it is this program that would be interrupted
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, pressed)
    step = 0
    while step < rounds or (comm.bcast(came) < enough and step < most):
        step += 1
        mine, out = np.full(floats, float(step + comm.rank)), np.full(floats, -1.0)
        timer = threading.Timer(rng.uniform(0, typical), os.kill, (os.getpid(), signal.SIGINT))
        comm.Barrier()
        started = time.monotonic()
        if comm.rank == 0:
            timer.start()
        while averager.step < step:
            try:
                averager.synchronize(mine, out=out)
            except KeyboardInterrupt:
                came += 1
        typical = 0.7 * typical + 0.3 * (time.monotonic() - started)
        if comm.rank == 0:
            timer.join()
        expected = step + (comm.size - 1) / 2
        found = np.unique(out)
        if found.tolist() != [expected]:
            wrong.append([step, expected, found[:3].tolist()])
    averager.close()
    return {"came": came, "wrong": wrong}


# Numbers like any other.


def not_finite(comm):
    """Average NaN and infinity in a group of all ranks and in a synchronisation."""
    facts = {}
    for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
        mine = np.array([1.0, 1.0, 1.0, 1.0], dtype)
        if comm.rank == 1:
            mine[:3] = np.nan, np.inf, -np.inf
        if comm.rank == 2:
            mine[2] = np.inf
        options = {"group_size": comm.size, "quorum": comm.size, "broadcast": False}
        with GroupAverager(comm, OrderedDict(w=mine), **options) as averager:
            for call in (averager.average, averager.synchronize):
                out = call(OrderedDict(w=mine))["w"].astype(np.float64)
                facts[f"{np.dtype(dtype).name} {call.__name__}"] = [repr(float(x)) for x in out]
    return facts


def start_is_not_finite(comm):
    """Begin with rank 0's NaN and infinity."""
    model = np.array([np.nan, np.inf, 1.0]) if comm.rank == 0 else np.zeros(3)
    with GroupAverager(comm, model):
        return [repr(float(x)) for x in model]


def last_step(comm):
    """Go past the last step that a word has room for."""
    last = (1 << 36) - 1
    averager = GroupAverager(comm, nested(), start_step=last - 1, group_size=2, quorum=2, timeout=PATIENT)
    first = values(averager.average(nested(float(comm.rank))))
    told = said(averager.average, nested(float(comm.rank)))
    averager.close()
    return {"first": first, "told": told, "step": averager.step}
