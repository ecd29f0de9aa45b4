"""Elastic synchronisations of pytrees: jumps outside of jit, in it, in loops, and in optimizers."""

import os
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import io_callback

from jax_bindings import PytreeAverager, leaves, wagma
from tests.support.changes import changed
from tests.support.messages import message
from tests.support.signals import PATIENT, signal_from, signal_to, until
from wagma_rma.testing.probe import Probe

PERIOD = 5


def start(comm):
    return {"w": jnp.full(3, float(comm.rank)), "b": jnp.full(2, float(comm.rank), jnp.bfloat16)}


def made(comm, params, **options):
    """Return an averager with groups of one, whom all ranks but one call unless told otherwise."""
    usual = {"group_size": 1, "sync_period": PERIOD, "sync_quorum": comm.size - 1, "timeout": PATIENT}
    return PytreeAverager(comm, params, **{**usual, "broadcast": False, **options})


def trained(params):
    """Return params after one update: each adds ten."""
    return jax.tree.map(lambda leaf: leaf + 10, params)


def bits(params):
    """Return the bytes of params as hexadecimal digits."""
    return [np.asarray(leaf).tobytes().hex() for leaf in jax.tree.leaves(params)]


def lets_others_call(averager, comm, multiple):
    """Have the last rank wait until the others have called it to a synchronisation."""
    if comm.rank == comm.size - 1:
        until(lambda: Probe(averager).is_called(multiple))


def told(averager):
    """Return what the report says of the last step."""
    report = averager.report
    return [report.step, report.outcome.name, report.skipped]


def ways(averager):
    """Return, by name, functions that update params once and average them."""

    def step(params):
        return averager(trained(params))

    def cond(params):
        return jax.lax.cond(params["w"][0] > -1, step, lambda params: params, params)

    return {
        "eager": step,
        "jit": jax.jit(step),
        "donated": jax.jit(step, donate_argnums=0),
        "cond": jax.jit(cond),
    }


def jumps(comm, backend):
    """The last rank jumps to a synchronisation in each way of calling the averager; return what each sees."""
    seen = {}
    with made(comm, start(comm), backend=backend) as averager:
        for name, step in ways(averager).items():
            multiple, before = averager.step + PERIOD, averager.statistics
            lets_others_call(averager, comm, multiple)
            params = start(comm)
            while averager.step < multiple:
                params = step(params)
            sums = averager.statistics
            seen[name] = {
                "w": float(params["w"][0]),
                "bits": bits(params),
                "told": told(averager),
                "steps": [sums.steps - before.steps, sums.skipped - before.skipped],
            }
        return seen, averager.sync_quorum


def while_loop(comm, backend):
    """Train in a loop of XLA's that reads the averager's step by a callback; return what is told at last."""
    with made(comm, start(comm), backend=backend) as averager:

        def turn(state):
            params = averager(trained(state[0]))
            step = jax.ShapeDtypeStruct((), np.int32)
            return params, io_callback(lambda: np.int32(averager.step), step, ordered=True)

        @jax.jit
        def train(params):
            return jax.lax.while_loop(lambda state: state[1] < 2 * PERIOD, turn, (params, jnp.int32(0)))[0]

        def lets_others_call_now():
            lets_others_call(averager, comm, PERIOD)

        Probe(averager).before("average_at", lambda *_: lets_others_call_now())
        params = jax.block_until_ready(train(start(comm)))
        return told(averager)[:2], bits(params), averager.statistics.skipped


def accelerator(comm):
    """Jump as if params were on an accelerator; return what is told, and how often each leaf was fetched."""
    fetched = []

    def counting(sources, _):
        for i, source in enumerate(sources):
            sources[i] = lambda i=i, source=source: fetched.append(i) or source()

    with (
        changed(leaves, is_on_accelerator=lambda leaf: isinstance(leaf, jax.Array)),
        made(comm, start(comm)) as averager,
    ):
        Probe(averager).before("average_at", counting)
        lets_others_call(averager, comm, PERIOD)
        params = start(comm)
        while averager.step < PERIOD:
            params = averager(trained(params))
        return told(averager), bits(params), fetched


def scan(comm, backend):
    """Each rank does eleven steps in one program, so that one which jumps comes to step 15, alone."""
    calls = []
    with made(comm, start(comm), backend=backend) as averager:
        probe = Probe(averager)

        def before(*_):
            calls.append(1)
            if comm.rank == 0:
                until(lambda: probe.is_called(PERIOD))
            if len(calls) == (2 * PERIOD if comm.rank else PERIOD + 1):  # nobody jumps to the second one
                until(lambda: min(probe.published(range(comm.size))) >= 2 * PERIOD - 1)

        probe.before("average_at", before)
        scanned = jax.jit(
            lambda params: jax.lax.scan(lambda p, _: (averager(trained(p)), None), params, length=11)[0]
        )
        said = message(lambda: jax.block_until_ready(scanned(start(comm))))
        reached = averager.step
        message(averager.close)  # another rank may have left by its error already, or leave meanwhile
    return said, reached


def cut_short(comm, backend):
    """Rank 0's jump is cut short, by a timeout and by Ctrl-C, and its next call goes on; return all told."""
    seen = []
    for how in ("timeout", "ctrl-c"):
        with made(comm, start(comm), backend=backend, sync_quorum=1) as averager:
            probe, step = Probe(averager), ways(averager)["jit"]
            params = start(comm)
            errors = []
            if comm.rank == 0:
                until(lambda probe=probe: probe.is_called(PERIOD))
                if how == "timeout":
                    averager.timeout = 0.2
                else:
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    threading.Thread(target=interrupt, args=(probe,)).start()
                errors = [message(lambda step=step, params=params: jax.block_until_ready(step(params)))]
                errors.append(averager.step)
                averager.timeout = PATIENT
                signal_to(comm, 2)
            elif comm.rank == 2:
                signal_from(comm, 0)
            while averager.step < PERIOD:
                params = step(params)
            seen.append([errors, told(averager), bits(params)])
    return seen


def interrupt(probe):
    """Send this process Ctrl-C once its synchronisation waits for others."""
    until(probe.awaits_arrivals)
    os.kill(os.getpid(), signal.SIGINT)


def optimizer(comm, every):
    """Train by wagma() until step 10, in jit; return what the last rank's jump has come to."""
    params = {"w": jnp.full(3, 100.0 + comm.rank)}
    with made(comm, params) as averager:
        one = wagma(optax.sgd(1.0), averager, every=every)

        @jax.jit
        def step(params, state):
            updates, state = one.update({"w": jnp.full(3, -1.0)}, state, params)
            return optax.apply_updates(params, updates), state

        state, updates = one.init(params), 0
        lets_others_call(averager, comm, PERIOD)
        while averager.step < PERIOD:
            params, state = step(params, state)
            updates += 1
        return told(averager), updates, float(params["w"][0]), bits(params), int(state.since)
