"""A rank that leaves a run, in every way and at every place; and ranks with different numbers of steps.

python -m tests.ranks.programs.departures API HOW WHEN runs without mpi4py's own ending of jobs, as users do.
"""

import json
import linecache
import os
import signal
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from mpi4py import MPI

from tests.ranks.programs.endings import kept, shared_files
from tests.support.signals import until
from wagma_rma import GroupAverager, RankLeft, StepMismatch, SynchronizationTimeout
from wagma_rma.testing.probe import Probe

VICTIM = 1
PERIOD = 5


def go(how):
    """Leave the run in a way that unwinds the program, or end the process; tell when."""
    Path(os.environ["RANKS_DIRECTORY"], "left").write_text(str(time.time()))
    if how == "raise":
        raise ValueError("no data")
    if how.startswith("exit "):
        sys.exit(int(how.removeprefix("exit ")))
    if how == "_exit":
        os._exit(0)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(60)


def go_while_it_waits(how):
    """Have this rank go while it is in a call, by a signal that comes soon."""
    signal.signal(signal.SIGUSR1, lambda number, frame: go(how))
    threading.Thread(
        target=lambda: (time.sleep(0.3), os.kill(os.getpid(), signal.SIGUSR1)), daemon=True
    ).start()


def numpy_api(comm, **options):
    """Return an averager, a model, and a function that performs a step."""
    averager = GroupAverager(comm, np.zeros(1000), **options)
    return averager, np.ones(1000), averager.average


def jax_api(comm, compiled, **options):
    import jax
    import jax.numpy as jnp

    from jax_bindings import PytreeAverager

    averager = PytreeAverager(comm, {"w": jnp.zeros(1000)}, **options)
    step = jax.jit(lambda params: averager(params)) if compiled else averager
    return averager, averager.params, lambda params: jax.block_until_ready(step(params))


def leave(comm, api, how, when):
    """Rank 1 goes; the others find out in the next call that needs it."""
    make = {"numpy": numpy_api, "eager": jax_api, "jit": jax_api}[api]
    options = {"sync_period": PERIOD, "group_size": comm.size}
    if api != "numpy":
        options["compiled"] = api == "jit"
    if when == "in a step":
        options["quorum"] = comm.size
    before = set(shared_files())
    averager, model, step = make(comm, **options)
    mapped = json.dumps(sorted(set(shared_files()) - before))
    Path(os.environ["RANKS_DIRECTORY"], f"mapped.{comm.rank}").write_text(mapped)
    comm.Barrier()
    with averager:
        for at in range(1, PERIOD + 1):
            if comm.rank == VICTIM and at == 3 and when == "between steps":
                go(how)
            if at == 3 and when == "in a step":
                if comm.rank == VICTIM:
                    go_while_it_waits(how)
                elif comm.rank == 0:
                    time.sleep(1.5)  # the group waits for its quorum
            if at == PERIOD and when == "in a synchronisation":
                if comm.rank == VICTIM:
                    go_while_it_waits(how)
                elif comm.rank == 0:
                    time.sleep(1.5)
            model = step(model)
        if comm.rank == VICTIM and when == "before close":
            go(how)


def end_early(comm, how):
    """Rank 1 ends its program, with an averager that is neither closed nor in a `with` block."""
    averager = GroupAverager(comm, np.zeros(1000), sync_period=PERIOD)
    kept.append(averager)
    for at in range(1, PERIOD + 1):
        if comm.rank == VICTIM and at == 3:
            go(how)
        averager.average(np.ones(1000))


# Exceptions at every line.


class Odd(BaseException):
    """What nothing expects."""


class RaiseAt:
    """Raises Odd at the n-th line of the library's Python code that runs in a call.

    Args:
        by_signal: whether a signal handler raises it. The library chooses when this runs.
    """

    def __init__(self, n, by_signal):
        self._n = n
        self._by_signal = by_signal
        self.raised = False

    def __call__(self, call):
        if self._by_signal:
            signal.signal(signal.SIGUSR1, raise_odd)
        sys.settrace(self._trace)
        try:
            return call()
        finally:
            sys.settrace(None)

    def _trace(self, frame, event, argument):
        code = frame.f_code
        if event == "line" and "wagma_rma" in code.co_filename:
            text = linecache.getline(code.co_filename, frame.f_lineno).lstrip()
            # No signal comes at these lines; a tracer does, and finds the block around them not entered.
            if not text.startswith(("with ", "try:")):
                self._n -= 1
                # Python prints, and forgets, what is raised in __del__.
                if self._n <= 0 and not collects(frame) and not self.raised:
                    self.raised = True
                    sys.settrace(None)
                    if not self._by_signal:
                        raise Odd
                    signal.raise_signal(signal.SIGUSR1)
        return self._trace


def raise_odd(number, frame):
    raise Odd


def collects(frame):
    """Return whether a frame runs since an averager is collected as garbage."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def exceptions_anywhere(comm, call, by_signal, most):
    """At rank 0 raise an exception at each line of a call in turn; return how each case ended, if badly.

    The same call is made again then. It must end with the right numbers on both ranks, or rank 0 must be told
    that the averager can't go on, and rank 1 that rank 0 has stopped. After a signal nobody may be told that.
    Nobody may wait for ever.
    """
    bad, cases = [], 0
    for n in range(1, most):
        make, perform, right, last = CALLS[call](comm)
        averager = make()
        raising = RaiseAt(n, by_signal)
        outcome, result = "never ended", None
        for attempt in range(4):
            try:
                first = attempt == 0 and comm.rank == 0
                result = raising(partial(perform, averager)) if first else perform(averager)
                outcome = "done"
                break
            except Odd:
                # It came when the call was complete.
                if averager.step >= last and not Probe(averager).in_join:
                    outcome = "done"
                    break
            except SynchronizationTimeout as error:
                outcome = f"hung: {error}"
                break
            except (RankLeft, StepMismatch) as error:
                outcome = f"told: {error}"
                break
            except RuntimeError as error:
                known = "can't go on" in str(error) or "half done" in str(error)
                outcome = f"told: {error}" if known else str(error)
                break
        told = outcome.startswith("told") and not by_signal
        if not (outcome == "done" or told) or not (result is None or result.tolist() in right):
            bad.append([n, outcome, None if result is None else result.tolist()])
        del averager
        cases = n
        if not comm.bcast(raising.raised) or comm.allreduce(len(bad)):
            break
    return bad, cases


def one_call(call, comm):
    """Return what makes an averager, what calls it, which results are right, and the step after that."""
    model = np.full(3, float(comm.rank))
    mean = [(comm.size - 1) / 2] * 3
    together = {"group_size": comm.size, "quorum": comm.size, "sync_period": 100, "timeout": 20}

    def perform(averager):
        return averager.close() if call == "close" else getattr(averager, call)(model)

    right = [mean, model.tolist()] if call == "average" else [mean]
    return partial(GroupAverager, comm, np.zeros(3), broadcast=False, **together), perform, right, 1


def join_at_once(comm):
    """Rank 0 joins before it has done a step; rank 1 does three, the second with rank 0, and joins.

    The means are 1, with rank 0's start, and 1.5, with the mean that it has then and what rank 1 adds to it.
    """

    def perform(averager):
        if comm.rank == 0:
            return averager.join(np.zeros(3))
        model = np.full(3, 2.0)
        while averager.step < 3:
            model = averager.average(model + (averager.step == 2))
        return averager.join(model)

    alone = {"group_size": 1, "sync_period": 2, "timeout": 20}
    return partial(GroupAverager, comm, np.zeros(3), broadcast=False, **alone), perform, [[1.5] * 3], 4


CALLS = {
    **{call: partial(one_call, call) for call in ("synchronize", "join", "average", "close")},
    "join at once": join_at_once,
}


# Different numbers of steps.


def uneven(comm, steps, sync_period, quorum, rounds=1, group_period=1):
    """Each rank does another number of steps, then joins; return what it has at the end of each round."""
    seen = []
    with GroupAverager(
        comm,
        np.zeros(4),
        sync_period=sync_period,
        group_period=group_period,
        group_size=comm.size,
        quorum=quorum,
    ) as averager:
        model = np.zeros(4)
        for _ in range(rounds):
            for _ in range(steps[comm.rank]):
                model = averager.average(model + 1)
            model = averager.join(model)
            seen.append([averager.step, model.tolist(), averager.report.outcome.name])
    return seen


def join_cut_short(comm):
    """Rank 0 joins, is cut short in each wait, and joins again; the others go on."""
    told = []
    with GroupAverager(comm, np.zeros(4), sync_period=4, timeout=0.3, group_size=1) as averager:
        model = np.zeros(4)
        if comm.rank == 0:
            for call in (averager.join, averager.average, averager.synchronize, averager.join):
                try:
                    call(model)
                except (RuntimeError, SynchronizationTimeout) as error:
                    told.append(str(error))
            comm.Barrier()
            while averager.step < 7:  # rank 1 waits at step 5 until this rank has been cut short once more
                try:
                    mean = averager.join(model)
                except SynchronizationTimeout:
                    if averager.step == 4 and len(told) == 4:
                        told.append("cut short after step 4")
                        averager.timeout = 60
                        comm.Barrier()
        else:
            comm.Barrier()
            averager.timeout = 60
            for step in range(1, 7):
                model = averager.average(model + 1)
                if step == 5:
                    comm.Barrier()
            mean = averager.join(model)
        return told, averager.step, mean.tolist()


# A process that is a fork.


def forked(comm, api):
    """A child tries every method; return its exit code, and the model of its parent after that."""
    together = {"group_size": comm.size, "quorum": comm.size, "sync_period": 7}
    make = {"numpy": numpy_api, "eager": jax_api, "jit": jax_api}[api]
    options = {} if api == "numpy" else {"compiled": api == "jit"}
    averager, start, average = make(comm, **together, **options)
    like = (lambda array: array) if api == "numpy" else lambda array: {"w": jnp.asarray(array, jnp.float32)}
    if api != "numpy":
        import jax.numpy as jnp

        warnings.filterwarnings("ignore", "os.fork")  # JAX has threads, which the child does not use
    with averager:
        average(start)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                calls = [
                    lambda: average(start),
                    lambda: averager.synchronize(start),
                    lambda: averager.join(start),
                    averager.state_dict,
                    averager.close,
                ]
                if api == "numpy":
                    calls.append(averager.buffers)
                refused = 0
                for call in calls:
                    try:
                        call()
                    except RuntimeError as error:
                        refused += "is a fork of it" in str(error) and str(os.getppid()) in str(error)
                code = 0 if refused == len(calls) else 10 + refused
                averager.__exit__(ValueError, ValueError("in the child"), None)
                del averager
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for _ in range(20):
            mean = average(like(np.full(1000, float(comm.rank))))
        return code, np.unique(mean if api == "numpy" else mean["w"]).tolist()


# One process of the host is killed, and the launcher lets the others live.


def all_survivors_are_told():
    return len(list(Path(os.environ["RANKS_DIRECTORY"]).glob("told.*"))) == MPI.COMM_WORLD.size - 1


def killed(comm, when):
    """Rank 1 is killed; return nothing: the others end by RankLeft."""
    quorum = comm.size if when == "group" else 1
    options = {"sync_period": 4, "group_size": comm.size, "quorum": quorum}
    averager = GroupAverager(comm, np.zeros(10), **options)
    for at in range(1, 6):
        if at == 3 and comm.rank == VICTIM:
            go("SIGKILL")
        try:
            averager.average(np.ones(10))
        except RankLeft as told:
            left = float(Path(os.environ["RANKS_DIRECTORY"], "left").read_text())
            # The first to end its program aborts the job; the launcher may lose what the others print then.
            print(f"told after {time.time() - left:.3f} s: RankLeft: {told}", flush=True)
            Path(os.environ["RANKS_DIRECTORY"], f"told.{comm.rank}").touch()
            until(all_survivors_are_told)
            raise


if __name__ == "__main__":
    world = MPI.COMM_WORLD
    name, *arguments = sys.argv[1:]
    {"leave": leave, "end_early": end_early, "killed": killed}[name](world, *arguments)
