"""JAX programs on a CUDA device, for which CPUs and a driver that is a fake stand in (RANKS_CUDA=1)."""

import logging
import re

import jax
import jax.numpy as jnp
import numpy as np

from jax_bindings import PytreeAverager, compiled
from tests.support.changes import changed
from tests.support.messages import message
from wagma_rma.testing.probe import Probe

OPTIONS = {"group_size": 2, "quorum": 2, "broadcast": False}


def mine(comm, size=6):
    return {"w": jnp.arange(size, dtype=jnp.float32) + comm.rank, "b": jnp.full(2, float(comm.rank))}


def calls(averager, params):
    """Return the calls of XLA in a program for CUDA: how many results of each lie in its operands."""
    text = jax.jit(averager).trace(params).lower(lowering_platforms=("cuda",)).as_text()
    return [
        [name, line.count("output_operand_alias<")]
        for line in text.splitlines()
        for name in re.findall(r"custom_call @(wagma_rma_\w+)", line)
    ]


def chosen(comm, backend="auto"):
    """Return the backend, what is copied by whom, and the calls in programs for a device."""
    facts = {}
    with PytreeAverager(comm, mine(comm), backend=backend, **OPTIONS) as averager:
        facts["backend"] = averager.backend
        streams = []
        Probe(averager).before("average_at", lambda sources, targets: streams.append(type(sources).__name__))
        first = averager(mine(comm))
        second = jax.jit(averager)(first)
        facts["copies"] = streams
        facts["means"] = [np.asarray(params["w"]).tolist() for params in (first, second)]
        facts["calls"] = calls(averager, mine(comm))
    with PytreeAverager(comm, mine(comm), backend=backend, overlap=True, **OPTIONS) as averager:
        facts["calls with overlap"] = calls(averager, mine(comm))
    return facts


def without_driver(comm):
    """Make averagers of params that are said to be on a CUDA device, where there is no driver."""
    warnings = []
    handler = logging.Handler()
    handler.emit = lambda record: warnings.append(record.getMessage())
    logging.getLogger("wagma_rma").addHandler(handler)
    on_cuda = {"platforms": lambda leaves: {"gpu"}, "are_cuda": lambda leaves: True}
    with changed(compiled, **on_cuda):
        refused = message(lambda: PytreeAverager(comm, mine(comm), backend="ffi"))
        with PytreeAverager(comm, mine(comm)) as averager:
            now = averager.backend
        with changed(compiled, CUDA_BY_DEFAULT=True), PytreeAverager(comm, mine(comm), **OPTIONS) as averager:
            later = averager.backend
            mean = np.asarray(averager(mine(comm))["w"]).tolist()
    return [refused, now, later, mean, warnings]


def moments(comm):
    """Take steps with a leaf that synchronisations alone average; return all leaves after each."""
    params = mine(comm)
    seen = []
    options = {**OPTIONS, "sync_period": 3, "overlap": True}
    with PytreeAverager(comm, params, select_synchronized={"w": False, "b": True}, **options) as averager:
        step = jax.jit(averager, donate_argnums=0)
        for number in range(4):
            params = averager(params) if number == 1 else step(params)
            seen.append([np.asarray(params[name]).tolist() for name in ("w", "b")])
    return seen
