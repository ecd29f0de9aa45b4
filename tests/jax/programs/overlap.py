"""JAX programs whose exchanges overlap with what they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_bindings import PytreeAverager, wagma
from tests.support import models
from tests.support.messages import message

DTYPES = (np.float32, np.float16, models.DTYPES[3])
PERIOD, STEPS = 5, 12


def start(rank):
    rng = np.random.default_rng(rank)
    return [rng.standard_normal(50).astype(dtype) for dtype in DTYPES]


def changed(params, rank):
    """Return what a rank's own step makes of params: exact in every dtype, so that compilers agree."""
    return [leaf * jnp.asarray(0.5, leaf.dtype) + jnp.asarray(rank, leaf.dtype) for leaf in params]


def expected(ranks):
    """Return the params of all ranks after each step, by PROTOCOL.md, if all are FRESH."""
    params = [start(rank) for rank in range(ranks)]
    pending, steps = None, []
    for step in range(1, STEPS + 1):
        came = [[np.asarray(leaf) for leaf in changed(own, rank)] for rank, own in enumerate(params)]
        if pending:
            came = [
                [models.moved(*one) for one in zip(own, average, before, strict=True)]
                for own, (average, before) in zip(came, pending, strict=True)
            ]
        if step % PERIOD == 0:
            params, pending = [models.group_mean(came)] * ranks, None
        else:
            average = models.group_mean(came)
            params, pending = came, [(average, own) for own in came]
        steps.append(params)
    return steps


def runs(averager, rank):
    """Yield the params after each step, in a way of its own each: (name, list of params)."""

    def step(params):
        return averager(changed(params, rank))

    yield "eager", step
    yield "jit", jax.jit(step)
    yield "donated", jax.jit(step, donate_argnums=0)


def same_bits(comm, backend):
    """Do steps in all ways of calling; return what differs from the definition."""
    reference, wrong = expected(comm.size), []
    options = {"group_size": comm.size, "quorum": comm.size, "sync_period": PERIOD, "overlap": True}
    options |= {"broadcast": False, "backend": backend}

    def check(name, step, params):
        if not models.same_bits([np.asarray(leaf) for leaf in params], reference[step - 1][comm.rank]):
            wrong.append(f"{name} at step {step}")

    for name in ("eager", "jit", "donated"):
        params = [jnp.asarray(leaf) for leaf in start(comm.rank)]
        with PytreeAverager(comm, params, **options) as averager:
            step = dict(runs(averager, comm.rank))[name]
            for number in range(1, STEPS + 1):
                params = step(params)
                check(name, number, params)
    params = [jnp.asarray(leaf) for leaf in start(comm.rank)]
    with PytreeAverager(comm, params, **options) as averager:

        @jax.jit
        def scanned(params):
            def body(params, _):
                params = averager(changed(params, comm.rank))
                return params, params

            return jax.lax.scan(body, params, None, length=STEPS)

        _, all_of_them = scanned(params)
        for number in range(1, STEPS + 1):
            check("scan", number, [leaf[number - 1] for leaf in all_of_them])
    return wrong


def optimizer(comm):
    """Train by wagma() with overlap; return each rank's params, and where all ranks agree."""
    params = {"w": jnp.zeros(3)}
    gradient = {"w": jnp.full(3, -1.0 - comm.rank)}
    options = {"group_size": 2, "quorum": 2, "sync_period": 4, "overlap": True}
    with PytreeAverager(comm, params, **options) as averager:
        chained = wagma(optax.sgd(1.0), averager)
        state = chained.init(params)

        @jax.jit
        def step(params, state):
            updates, state = chained.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

        seen = []
        for _ in range(4):
            params, state = step(params, state)
            seen.append(float(params["w"][0]))
        return seen


def completed(comm):
    """Complete params between two steps."""
    params = {"w": jnp.full(3, float(comm.rank)), "count": jnp.zeros((), int)}
    options = {"group_size": 2, "quorum": 2, "broadcast": False, "select": {"w": True, "count": False}}
    with PytreeAverager(comm, params, overlap=True, **options) as averager:
        step = jax.jit(averager)
        stepped = step(params)
        complete = averager.complete(stepped)
        refused = message(lambda: jax.jit(averager.complete)(params))
        overlap, state = averager.overlap, averager.state_dict()
        return [
            np.asarray(stepped["w"]).tolist(),
            np.asarray(complete["w"]).tolist(),
            int(complete["count"]),
            refused,
            overlap,
            state,
        ]
