"""Steps inside compiled programs: where they run, what JAX may do with them, and how they fail."""

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jax_bindings import PytreeAverager, leaves
from tests.jax.programs.pytree import numpy_leaves
from tests.support import models
from tests.support.changes import changed
from tests.support.messages import message
from tests.support.signals import signal_from, signal_to, until
from wagma_rma import GroupAverager, SynchronizationTimeout
from wagma_rma.testing.probe import Probe

ALL = {"sync_period": 1, "broadcast": False}  # a step is the mean of all ranks


def mine(comm, size=6):
    return {"w": jnp.arange(size, dtype=jnp.float32) + comm.rank, "b": jnp.full(2, float(comm.rank))}


def pointers(params):
    return [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(params)]


def memory(comm):
    """Return facts about whose memory is read and written, and about what is traced again."""
    facts = {}
    traced = []
    with PytreeAverager(comm, mine(comm), **ALL) as averager:

        def step(params):
            traced.append(1)
            return averager(params)

        params = mine(comm, 6)
        before = pointers(params)
        donated = jax.jit(step, donate_argnums=0)
        given = []
        Probe(averager).before("average_at", lambda *addresses: given.extend(addresses))
        first = jax.block_until_ready(donated(params))
        facts["in place"] = given == [before, before] and pointers(first) == before
        facts["deleted"] = all(leaf.is_deleted() for leaf in jax.tree.leaves(params))
        for _ in range(3):
            first = donated(first)
        facts["traced"] = len(traced)
        kept = mine(comm)
        result = jax.jit(averager)(kept)
        facts["kept"] = np.asarray(kept["w"]).tolist()
        facts["mean"] = np.asarray(result["w"]).tolist()
        facts["text"] = re.findall(
            r'custom_call @(\w+)\(|call_target_name = "(\w+)"', str(jax.jit(averager).lower(kept).as_text())
        )

        # A callback's results are copied before the next step writes where they were.
        with PytreeAverager(comm, kept, backend="callback", **ALL) as called:
            called_step = jax.jit(called)
            results = [called_step(jax.tree.map(lambda x, i=i: x + i, kept)) for i in range(3)]
            effects = jax.make_jaxpr(called)(kept).effects
            facts["ordered"] = sorted(type(effect).__name__ for effect in effects)
            facts["callback"] = [np.asarray(each["w"])[0].item() for each in results]

        # Eagerly: numpy's averager reads the memory of the arrays, and its results become arrays as they are.
        seen = []

        def watched(model, out):
            seen.append([[leaf.ctypes.data for leaf in leaves.values()] for leaves in (model, out)])

        Probe(averager).before("average", watched)
        result = averager(kept)
        facts["eager"] = seen == [[pointers(kept), pointers(result)]]
    return facts


def fetched(comm):
    """Average as if params were on an accelerator, and with functions for sources; return what goes wrong."""
    wrong, called = [], []
    start = models.mixed(comm.rank, 0)
    options = {"sync_period": 2, "group_size": comm.size, "quorum": comm.size}
    with (
        changed(leaves, is_on_accelerator=lambda leaf: isinstance(leaf, jax.Array)),
        PytreeAverager(comm, jax.tree.map(jnp.asarray, start), **options) as averager,
        GroupAverager(comm, models.mixed(comm.rank, 0), **options) as reference,
        GroupAverager(comm, models.mixed(comm.rank, 0), **options) as by_function,
    ):
        if not models.same_bits(numpy_leaves(averager.params), jax.tree.leaves(models.mixed(0, 0))):
            wrong.append("the start is not rank 0's")
        for step in range(1, 5):
            model = models.mixed(comm.rank, step)
            right = jax.tree.leaves(reference.average(model))
            found = averager(jax.tree.map(jnp.asarray, model))
            if not models.same_bits(numpy_leaves(found), right):
                wrong.append(f"step {step}: not the bits of the numpy API")
            # Of this one the order of leaves is that of the sorted keys.
            plain = [np.array(leaf, order="C") for leaf in jax.tree.leaves(model)]
            out = [np.empty_like(leaf) for leaf in plain]
            called.clear()

            def fetch(i, plain=plain):
                called.append(i)
                return plain[i]

            by_function.average_at(
                [lambda i=i: fetch(i) for i in range(len(plain))], [leaf.ctypes.data for leaf in out]
            )
            if not models.same_bits(out, right):
                wrong.append(f"step {step}: not the bits of the numpy API, by functions")
            if sorted(called) != [i for i, leaf in enumerate(plain) if leaf.size]:
                wrong.append(f"step {step}: called {called}")
        bad = {**jax.tree.map(jnp.asarray, model), "one": jnp.zeros(2, jnp.float32)}
        said = message(lambda: averager(bad))
        if not said.startswith("ValueError: average: model['one'] is float32[2], but"):
            wrong.append(said)
    return wrong


def loops(comm, backend):
    """Do steps in every kind of loop, from different params each; return those that go wrong."""
    wrong = []
    count = 0

    def change(params, turn):
        # Not commutative: steps in another order would end elsewhere.
        return jax.tree.map(lambda leaf: leaf * np.float32(1 + comm.rank) + turn, params)

    def expected(params, turns):
        for turn in range(turns):
            params = reference.average(jax.tree.map(np.asarray, change(params, np.float32(turn))))
        return params

    options = {**ALL, "sync_period": 3, "group_size": comm.size, "quorum": comm.size}
    start = mine(comm)
    with (
        PytreeAverager(comm, start, backend=backend, **options) as averager,
        GroupAverager(comm, jax.tree.map(np.asarray, start), **options) as reference,
    ):

        def body(turn, params):
            return averager(change(params, jnp.float32(turn)))

        def scan(params):
            return jax.lax.scan(lambda params, turn: (body(turn, params), None), params, jnp.arange(4))[0]

        def while_loop(params):
            return jax.lax.while_loop(
                lambda state: state[0] < 3, lambda state: (state[0] + 1, body(*state)), (0, params)
            )[1]

        def cond(params):
            return jax.lax.cond(
                params["w"][0] > -1e9, lambda params: body(0, params), lambda params: params, params
            )

        kinds = {
            "fori_loop": (5, lambda params: jax.lax.fori_loop(0, 5, body, params)),
            "scan": (4, scan),
            "while_loop": (3, while_loop),
            "cond": (1, cond),
            "jit in jit": (2, lambda params: body(1, jax.jit(body)(0, params))),
        }
        for name, (turns, function) in kinds.items():
            result = jax.block_until_ready(jax.jit(function)(start))
            count += turns
            right = expected(jax.tree.map(np.asarray, start), turns)
            if any(np.asarray(result[leaf]).tobytes() != right[leaf].tobytes() for leaf in right):
                wrong.append(f"{name}: {result} is not {right}")
            if averager.step != count:
                wrong.append(f"{name}: step {averager.step}, not {count}")
    return wrong


def leaks(comm, backend):
    """Trace, and run, steps of one averager and of two under JAX's leak checker; return what it finds."""
    found = {}
    start = mine(comm)
    with (
        PytreeAverager(comm, start, backend=backend, **ALL) as one,
        PytreeAverager(comm, start, backend=backend, **ALL) as two,
        jax.checking_leaks(),
    ):

        def turns(params):
            return jax.lax.fori_loop(0, 2, lambda _, params: two(one(params)), params)

        functions = {
            "one": one,
            "one, twice": lambda params: one(one(params)),
            "two": lambda params: (one(params), two(params)),
            "two in a loop": turns,
            "two in nested functions": lambda params: jax.jit(two)(jax.jit(one)(one(params))),
        }
        for name, function in functions.items():
            found[name] = message(lambda function=function: jax.block_until_ready(jax.jit(function)(start)))
        kept = []
        found["a leak of the user's"] = message(lambda: jax.jit(lambda x: kept.append(one(x)) or x)(start))
    return found


def transformed(comm, backend):
    """Return what JAX's transformations of a step raise."""
    said = {}
    w = mine(comm)["w"]
    with PytreeAverager(comm, w, backend=backend, **ALL) as averager:

        def loss(params):
            return averager(params).sum()

        said["grad"] = message(lambda: jax.grad(loss)(w))
        said["jit of grad"] = message(lambda: jax.jit(jax.grad(loss))(w))
        said["grad of jit"] = message(lambda: jax.grad(lambda params: jax.jit(averager)(params).sum())(w))
        said["grad in a loop"] = message(
            lambda: jax.grad(lambda params: jax.lax.fori_loop(0, 2, lambda _, p: averager(p), params).sum())(
                w
            )
        )
        rows = jnp.stack([w, w])
        said["vmap"] = message(lambda: jax.vmap(averager)(rows))
        said["vmap of jit"] = message(lambda: jax.vmap(jax.jit(averager))(rows))
        mesh = jax.make_mesh((1,), ("d",), axis_types=(AxisType.Auto,))
        spec = PartitionSpec("d")
        mapped = jax.shard_map(averager, mesh=mesh, in_specs=spec, out_specs=spec)
        said["shard_map"] = message(lambda: jax.jit(mapped)(w))
        # What is not differentiated may be averaged where something else is.
        said["aside"] = message(lambda: jax.grad(lambda scale: (averager(w) * scale).sum())(1.0))
        said["steps"] = averager.step
    return said


def failing(comm, backend):
    """Rank 0's compiled synchronisation times out, a later call completes it, and the next ends a block."""
    with PytreeAverager(comm, mine(comm), backend=backend, **ALL) as closed:
        of_closed = jax.jit(closed)
    told = [message(lambda: jax.block_until_ready(of_closed(mine(comm))))]
    averager = PytreeAverager(comm, mine(comm), backend=backend, **ALL)
    step = jax.jit(averager)
    params = jax.block_until_ready(step(mine(comm)))
    if comm.rank == 0:
        averager.timeout = 0.3
        told.append(message(lambda: jax.block_until_ready(step(params))))
        averager.timeout = None
        comm.send(None, 1)
    elif comm.rank == 1:
        comm.recv(source=0)
    params = step(params)
    w, steps = np.asarray(params["w"]).tolist(), averager.step
    if comm.rank == 0:
        averager.timeout = 0.3
        try:
            with averager:
                jax.block_until_ready(step(params))
        except SynchronizationTimeout as error:
            told += [str(error), isinstance(error.__cause__, Exception)]
        signal_to(comm, 1)
    else:
        signal_from(comm, 0)
    return told, w, steps


def after_failure(comm):
    """Go on after a timeout in a step that XLA ran on another thread; return what is told, and the steps."""
    start = {"w": jnp.full(1_000_000, float(comm.rank))}
    told = []
    with PytreeAverager(comm, start, backend="ffi", **ALL) as averager:

        @jax.jit
        def step(params):
            w = params["w"]
            for _ in range(20):  # long enough for XLA to run it on another thread
                w = jnp.sin(w)
            return averager({"w": w})

        params = jax.block_until_ready(step(start))
        if comm.rank == 0:
            averager.timeout = 0.3
            told.append(message(lambda: jax.block_until_ready(step(params))))
            averager.timeout = None
            signal_to(comm, 1)
        else:
            signal_from(comm, 0)
        params = averager(params)
        results = []
        thread = threading.Thread(target=lambda: results.append(jax.block_until_ready(step(params))))
        thread.start()
        thread.join()
        return told, averager.step, float(results[0]["w"][0])


def gone(comm):
    """Return what is said of an averager that nobody keeps, and of an error in a block that isn't its own."""
    averager = PytreeAverager(comm, mine(comm), **ALL)
    compiled = jax.jit(averager).lower(mine(comm)).compile()
    del averager
    said = message(lambda: jax.block_until_ready(compiled(mine(comm))))
    averager = PytreeAverager(comm, mine(comm), **ALL)
    others = message(lambda: block(averager))
    averager.close()
    return said, others


def block(averager):
    with averager:
        raise KeyError("another's")


def ending(comm, how, backend):
    """End in the middle of a compiled step for which rank 1 is awaited."""
    directory = Path(os.environ["RANKS_DIRECTORY"])
    averager = PytreeAverager(comm, mine(comm, 100_000), backend=backend, **ALL)
    step = jax.jit(averager)
    params = jax.block_until_ready(step(mine(comm, 100_000)))
    probe = Probe(averager)
    if how == "exit":
        # All have a step under way, which nobody waits for.
        kept.append((averager, step(params)))
        sys.exit(0)
    if comm.rank == 1:
        until(lambda: probe.has_arrived(0, 2))
        time.sleep(0.2)
        if how == "exception":
            (directory / "raised").write_text(str(time.time()))
            raise ZeroDivisionError("the user's own")
        assert how == "ctrl-c"
        os.kill(int((directory / "pid.0").read_text()), signal.SIGINT)
        (directory / "raised").write_text(str(time.time()))
    if comm.rank == 0 or how == "exception":
        jax.block_until_ready(step(params))
    time.sleep(60)


kept = []


def interrupted(comm, floats, backend):
    """Rank 0 gets Ctrl-C where a compiled step waits for rank 1, who never comes; return what ends it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    averager = PytreeAverager(comm, mine(comm, floats), backend=backend, sync_period=3)
    step = jax.jit(averager)
    params = jax.block_until_ready(step(averager.params))
    if comm.rank == 1:
        os.kill(comm.recv(source=0), signal.SIGINT)
        signal_from(comm, 0)
        return []
    raised = []
    probe = Probe(averager)
    threading.Thread(
        target=lambda: (until(lambda: probe.has_arrived(0, 3)), comm.send(os.getpid(), 1)), daemon=True
    ).start()
    try:
        for _ in range(2):
            params = step(params)
        jax.block_until_ready(params)
    except BaseException as error:
        while error is not None:
            raised.append(f"{type(error).__name__}: {error}")
            error = error.__context__
    try:
        time.sleep(0)  # here at the latest the main thread runs Python's handler
    except KeyboardInterrupt:
        raised.append("KeyboardInterrupt")
    signal_to(comm, 1)
    return raised


def many(comm, backend, devices):
    """Average more leaves than a call has operands, of all dtypes and many sizes; return what goes wrong."""
    wrong = []
    mesh = jax.make_mesh((devices,), ("d",), axis_types=(AxisType.Auto,))
    shardings = [NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("d"))]
    kinds = [np.dtype(name) for name in ("float32", "bfloat16", "float16")]
    random = np.random.default_rng(comm.rank)
    mine = {
        f"{i}": jnp.asarray(random.normal(size=(i % 40, 1 + i % 3)), kinds[i % len(kinds)])
        for i in range(700)
    }
    if devices > 1:
        mine = {
            name: jax.device_put(leaf, shardings[leaf.shape[0] % devices == 0]) for name, leaf in mine.items()
        }
    options = {"sync_period": 2, "group_size": comm.size, "quorum": comm.size}
    with (
        PytreeAverager(comm, mine, backend=backend, **options) as averager,
        PytreeAverager(comm, mine, **options) as reference,
    ):
        step = jax.jit(averager)
        calls = re.findall(r"wagma_rma_\w+|xla_ffi_python_cpu_callback", step.lower(mine).as_text())
        for i in range(4):
            model = jax.tree.map(lambda leaf, i=i: leaf * (i + 1), mine)
            found, right = step(model), reference(model)
            for name, leaf in found.items():
                if np.asarray(leaf).tobytes() != np.asarray(right[name]).tobytes():
                    wrong.append(f"step {i + 1}, leaf {name}: other bits than outside of jit")
                if leaf.size and not leaf.sharding.is_equivalent_to(mine[name].sharding, leaf.ndim):
                    wrong.append(f"step {i + 1}, leaf {name}: comes back on {leaf.sharding}")
    return wrong, {name: calls.count(name) for name in set(calls)}


def crowded(comm, devices, backend):
    """Do steps on params that are replicated over all devices; return how many were done."""
    mesh = jax.make_mesh((devices,), ("d",), axis_types=(AxisType.Auto,))
    params = jax.device_put({"w": jnp.zeros(300_000)}, NamedSharding(mesh, PartitionSpec()))
    with PytreeAverager(comm, params, backend=backend, sync_period=3) as averager:
        step = jax.jit(lambda params: averager(jax.tree.map(lambda leaf: leaf + comm.rank, params)))
        params = averager.params
        for _ in range(30):
            params = step(params)
        return averager.step


def prompt(comm, backend):
    """Return the reports that, right after a compiled step, tell of another one."""
    wrong = []
    with PytreeAverager(comm, {"w": jnp.zeros(300_000)}, backend=backend, sync_period=50) as averager:

        @jax.jit
        def step(params):
            w = params["w"]
            for _ in range(30):
                w = jnp.sin(w) + 1e-3
            return averager({"w": w})

        params = averager.params
        looks = {
            "state_dict": lambda: averager.state_dict()["step"],
            "step": lambda: averager.step,
            "report": lambda: averager.report.step,
            "statistics": lambda: averager.statistics.steps,
        }
        for i, (name, look) in enumerate(3 * list(looks.items()), start=1):
            params = step(params)
            if (told := look()) != i:
                wrong.append(f"{name} after {i} steps: {told}")
    return wrong


def elsewhere(comm, backend, floats):
    """Return the steps told of in a callback between two steps, and in another thread while one waits."""
    with PytreeAverager(comm, {"w": jnp.zeros(floats)}, backend=backend, sync_period=1) as averager:

        def tell(x):
            return np.array([averager.step, averager.report.step, averager.statistics.steps], np.int32)

        @jax.jit
        def two(params):
            params = averager(params)
            told = io_callback(tell, jax.ShapeDtypeStruct((3,), np.int32), params["w"][0], ordered=True)
            return averager(params), told

        params, told = two(averager.params)
        told = np.asarray(told).tolist()
        step = jax.jit(averager)
        if comm.rank == 1:
            signal_from(comm, 0)  # it has been told, while it waits for this rank
            step(params)
            return told
        probe = Probe(averager)
        lazy = threading.Thread(target=lambda: (until(lambda: probe.has_arrived(0, 3)), look()))

        def look():
            told.append(averager.step)
            signal_to(comm, 1)

        lazy.start()
        step(params)
        told.append(averager.step)
        lazy.join()
    return told


def meshes(comm, devices):
    """Average params on several devices of each process, in jit and eagerly; return what goes wrong."""
    assert jax.local_device_count() == devices
    wrong = []
    mean = np.arange(8, dtype=np.float32) + (comm.size - 1) / 2
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((devices,), ("d",), axis_types=(kind,))
        for spec in (PartitionSpec(), PartitionSpec("d")):
            sharding = NamedSharding(mesh, spec)
            params = {"w": jax.device_put(np.arange(8, dtype=np.float32) + comm.rank, sharding)}
            for backend in ("auto", "callback"):
                with PytreeAverager(comm, params, backend=backend, **ALL) as averager:
                    step = jax.jit(lambda p, averager=averager: averager(jax.tree.map(lambda x: 2 * x, p)))
                    for name, result in (("jit", step(params)), ("eager", averager(params))):
                        w = jax.block_until_ready(result["w"])
                        factor = 2 if name == "jit" else 1
                        where = f"{kind.name}, {spec}, {backend}, {name}"
                        if not np.array_equal(np.asarray(w), factor * mean):
                            wrong.append(f"{where}: {w}")
                        if not w.sharding.is_equivalent_to(sharding, 1):
                            wrong.append(f"{where}: comes back on {w.sharding}")
                        if any(
                            not np.array_equal(shard.data, factor * mean[shard.index])
                            for shard in w.addressable_shards
                        ):
                            wrong.append(f"{where}: shards {w.addressable_shards}")
                    if averager.step != 2:
                        wrong.append(f"{where}: step {averager.step}, not one for each call")
            said = message(lambda params=params: PytreeAverager(comm, params, backend="ffi", **ALL))
            if not said.startswith(
                "ValueError: PytreeAverager: backend='ffi' averages params on one CPU or CUDA device, and "
                f"these are on {devices} of cpu"
            ):
                wrong.append(said)
    # Made for one device, used on several.
    alone = {"w": jnp.arange(8, dtype=jnp.float32) + comm.rank}
    with PytreeAverager(comm, alone, **ALL) as averager:
        result = jax.jit(averager)(params)
        if not np.array_equal(np.asarray(result["w"]), mean):
            wrong.append(f"made for one device: {result}")
        if averager.step != 1:
            wrong.append(f"made for one device: step {averager.step}")
    with PytreeAverager(comm, alone, **ALL) as averager:
        compiled = jax.jit(lambda w, other: averager({"w": 2 * w})["w"] + 0 * other)
        said = message(lambda: compiled(alone["w"], params["w"]))
        if not said.startswith("ValueError: average: the averager was made with params on one device, and "):
            wrong.append(said)
    with PytreeAverager(comm, alone, backend="ffi", **ALL) as averager:
        said = message(lambda: jax.jit(averager)(params))
        if not said.startswith("ValueError: average: the averager was made with params on one device, and "):
            wrong.append(said)
    return wrong
