"""jax.distributed beside MPI: what a program over devices of several processes says, and what works."""

import functools
import socket

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jax_bindings import PytreeAverager
from tests.support.messages import message


def begin(comm):
    """Let the ranks be processes of one JAX. Before anything else is done with JAX."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = comm.bcast(probe.getsockname()[1])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", comm.size, comm.rank)


def over_processes(comm):
    """Return what is said of params over processes, by averagers for one device too, and the steps done."""
    begin(comm)
    said = {}
    for kind in (AxisType.Auto, AxisType.Explicit):
        # One device of each process: there are no more of them than this process has.
        devices = np.array([jax.devices()[i * jax.local_device_count()] for i in range(comm.size)])
        sharding = NamedSharding(jax.sharding.Mesh(devices, ("d",), axis_types=(kind,)), PartitionSpec())
        spread = jax.make_array_from_callback((3,), sharding, lambda i: np.zeros(3, np.float32)[i])
        said[f"{kind.name}: made"] = message(lambda w=spread: PytreeAverager(comm, {"w": w}))
        for backend in ("auto", "ffi", "callback"):
            with PytreeAverager(comm, {"w": spread.addressable_data(0)}, backend=backend) as averager:
                step = jax.jit(lambda params, averager=averager: averager(params))
                said[f"{kind.name}, {backend}: jit"] = message(lambda step=step, w=spread: step({"w": w}))
                said[f"{kind.name}, {backend}: eager"] = message(
                    lambda averager=averager, w=spread: averager({"w": w})
                )
                steps = averager.step
            said[f"{kind.name}, {backend}: steps"] = steps
    return said


def within_processes(comm):
    """Average params on one device, and on all of this process, in jit; return what goes wrong."""
    begin(comm)
    wrong = []
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("d",))
    start = jnp.full(4, float(comm.rank))
    for name, mine in {
        "one device": jax.device_put(start, jax.local_devices()[0]),
        "all of a process": jax.device_put(start, NamedSharding(mesh, PartitionSpec("d"))),
    }.items():
        for backend in ("auto", "callback"):
            with PytreeAverager(comm, mine, backend=backend, sync_period=1, broadcast=False) as averager:
                step = jax.jit(functools.partial(lambda averager, w: averager(w + 1), averager))
                w = step(step(mine))
                if not np.array_equal(w, np.full(4, (comm.size - 1) / 2 + 2)) or averager.step != 2:
                    wrong.append(f"{name}, {backend}: {w} after {averager.step} steps")
                if not w.sharding.is_equivalent_to(mine.sharding, 1):
                    wrong.append(f"{name}, {backend}: comes back on {w.sharding}")
    return wrong
