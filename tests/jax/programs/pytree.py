"""The JAX bindings beside the numpy API: the same bits, in and out of jit, and the same errors."""

import copy
import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import wagma_rma
from jax_bindings import PytreeAverager
from tests.support import models
from tests.support.messages import message
from wagma_rma import metrics
from wagma_rma.groups.choice import choose


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    kernel: object
    bias: object


class Network(NamedTuple):
    layers: list
    scale: object


def network(value):
    """Return a pytree of a namedtuple, a list, a dict and a dataclass."""
    layers = [
        Layer(jnp.full((2, 3), value, jnp.float32), {"b": jnp.full(3, value, jnp.bfloat16)}),
        Layer(jnp.full((3,), value, jnp.float16), {}),
    ]
    return Network(layers, np.full((), value, np.float32))


def numpy_leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def uneven(comm):
    """Do compiled steps, of which each rank has another number, and join; return what this rank ends with."""
    # Groups of one: the numbers follow from the synchronisations alone.
    with PytreeAverager(comm, {"w": jnp.zeros(3)}, sync_period=4, group_size=1) as averager:
        step = jax.jit(lambda params: averager(jax.tree.map(lambda leaf: leaf + 1, params)))
        params = averager.params
        for _ in range(1 + 4 * comm.rank):
            params = step(params)
        in_jit = message(lambda: jax.jit(averager.join)(params))
        params = averager.join(params)
        return averager.step, np.unique(np.asarray(params["w"])).tolist(), in_jit


def same_bits(comm, group_period=1):
    """Do the steps of the numpy API eagerly, compiled, and by turns; return all differences."""
    wrong = []
    options = {
        "sync_period": 4,
        "group_period": group_period,
        "quorum": choose(comm.size, 2).size,
        "group_size": 2,
    }
    start = models.mixed(comm.rank, 0)
    kept = models.mixed(comm.rank, 0)
    averagers = {name: PytreeAverager(comm, start, **options) for name in ("eager", "jit", "turns")}
    compiled = {name: jax.jit(averager) for name, averager in averagers.items()}
    if not models.same_bits(start, models.leaves(kept)):
        wrong.append("the caller's arrays were written to")
    common = jax.tree.leaves(models.mixed(0, 0))
    reference = wagma_rma.GroupAverager(comm, models.mixed(comm.rank, 0), **options)
    for name, averager in averagers.items():
        if not models.same_bits(numpy_leaves(averager.params), common):
            wrong.append(f"{name}: not the start of rank 0")
        if not all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(averager.params)):
            wrong.append(f"{name}: params holds other than jax.Arrays")
    for step in range(1, 9):
        mine = models.mixed(comm.rank, step)
        expected = jax.tree.leaves(reference.average(mine))
        report = reference.report
        for name, averager in averagers.items():
            in_jit = name == "jit" or (name == "turns" and step % 2)
            result = (compiled[name] if in_jit else averager)(mine)
            if jax.tree.structure(result) != jax.tree.structure(mine):
                wrong.append(f"{name}, step {step}: another structure")
            if not all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(result)):
                wrong.append(f"{name}, step {step}: not jax.Arrays")
            if not models.same_bits(numpy_leaves(result), expected):
                wrong.append(f"{name}, step {step}: other bits than numpy's")
            mine_is = (averager.step, averager.report.outcome, averager.report.group)
            if mine_is != (step, report.outcome, report.group):
                wrong.append(f"{name}, step {step}: {mine_is}")
    expected = jax.tree.leaves(reference.synchronize(mine))
    for name, averager in averagers.items():
        synchronize = jax.jit(averager.synchronize) if name == "jit" else averager.synchronize
        if not models.same_bits(numpy_leaves(synchronize(mine)), expected):
            wrong.append(f"{name}, synchronize: other bits than numpy's")
    counts = averagers["turns"].statistics
    if (counts.steps, counts.fresh, counts.local, counts.synchronized) != (
        (9, 6, 0, 3) if group_period == 1 else (9, 2, 4, 3)
    ):
        wrong.append(f"{counts}")
    for averager in (*averagers.values(), reference):
        averager.close()
    return wrong


def order(comm):
    """Average in compiled loops, in calls nobody blocks on, and eagerly after these; return differences."""
    options = {"sync_period": 3, "quorum": comm.size, "group_size": comm.size}
    mine = {"w": np.arange(5, dtype=np.float32) + comm.rank, "v": np.ones((), np.float32)}

    def change(params, turn):
        # Not commutative: steps in another order would end elsewhere.
        return jax.tree.map(lambda leaf: leaf * np.float32(1 + comm.rank) + turn, params)

    with PytreeAverager(comm, mine, **options) as averager:

        @jax.jit
        def five(params):
            return jax.lax.fori_loop(0, 5, lambda turn, params: averager(change(params, turn)), params)

        donating = jax.jit(averager, donate_argnums=0)
        params = five(five(averager.params))
        forgotten = [five(averager.params) for _ in range(2)]
        params = averager(params)  # while compiled steps may still run
        params = donating(params)
        wrong = [] if averager.step == 22 else [f"step {averager.step}"]
        del forgotten

    start = {"w": np.arange(5, dtype=np.float32), "v": np.ones((), np.float32)}
    with wagma_rma.GroupAverager(comm, start, **options) as reference:
        states = [start, start, start]
        for call in (0, 0, 1, 2):
            for turn in range(5):
                changed = jax.tree.map(np.asarray, change(states[call], np.float32(turn)))
                states[call] = reference.average(changed)
        expected = reference.average(reference.average(states[0]))
    if not models.same_bits(numpy_leaves(params), jax.tree.leaves(expected)):
        wrong.append(f"{params} is not {expected}")
    return wrong


def start(comm):
    """Return facts about the start, and about closing."""
    facts = {}
    mine = network(float(comm.rank + 1))
    with PytreeAverager(comm, mine, sync_period=1) as averager:
        facts["structure"] = jax.tree.structure(averager.params) == jax.tree.structure(mine)
        facts["values"] = sorted({float(leaf.max()) for leaf in jax.tree.leaves(averager.params)})
        facts["dtypes"] = [leaf.dtype.name for leaf in jax.tree.leaves(averager.params)]
        facts["before"] = [averager.step, averager.report.outcome.name]
        result = jax.jit(averager)(mine)
        facts["mean"] = sorted({float(leaf.max()) for leaf in jax.tree.leaves(result)})
        facts["type"] = [type(result).__name__, type(result.layers[1]).__name__]
    averager.close()
    facts["closed"] = message(lambda: averager(mine))
    facts["closed in jit"] = message(lambda: jax.block_until_ready(jax.jit(averager)(mine)))
    with PytreeAverager(comm, np.full(2, float(comm.rank)), broadcast=False) as averager:
        facts["own"] = [float(averager.params[0]), averager.params.dtype.name]
        facts["bare"] = message(lambda: averager(jnp.zeros(3)))
        facts["wide"] = averager(np.ones(2)).dtype.name
    return facts


class Unknown:
    """What JAX does not know."""


class Twins:
    """A node whose two leaves have the same path."""

    def __init__(self, *leaves):
        self.leaves = leaves


TWIN = jax.tree_util.GetAttrKey("twin")
jax.tree_util.register_pytree_with_keys(
    Twins, lambda node: ([(TWIN, leaf) for leaf in node.leaves], None), lambda _, leaves: Twins(*leaves)
)


def errors(comm):
    """Return the messages of wrong use at this rank."""
    good = network(1.0)
    integer = network(1.0)
    integer.layers[0].bias["b"] = jnp.arange(3)
    longer = network(1.0)
    longer.layers[1].kernel = jnp.zeros(4, jnp.float16)
    less = network(1.0)
    less.layers[0].bias.clear()
    more = network(1.0)
    more.layers[1].bias["new"] = jnp.zeros(1)
    number = good._replace(scale=1.0)
    said = {
        "integer": message(lambda: PytreeAverager(comm, integer)),
        "integer at one rank": message(lambda: PytreeAverager(comm, integer if comm.rank else good)),
        "number": message(lambda: PytreeAverager(comm, number)),
        "random key": message(lambda: PytreeAverager(comm, {"key": jax.random.key(0)})),
        "function": message(lambda: PytreeAverager(comm, {"activation": jnp.tanh})),
        "object": message(lambda: PytreeAverager(comm, {"layer": Unknown()})),
        "in jit": message(lambda: jax.jit(lambda params: PytreeAverager(comm, params))(good)),
        "disagree": message(lambda: PytreeAverager(comm, longer if comm.rank else good)),
        "same path at one rank": message(
            lambda: PytreeAverager(comm, Twins(jnp.zeros(1), jnp.zeros(1)) if comm.rank else good)
        ),
        "option": message(lambda: PytreeAverager(comm, good, quorum=9)),
        "option at one rank": message(lambda: PytreeAverager(comm, good, sync_period=2 + comm.rank)),
        "window": message(lambda: PytreeAverager(comm, good, window="far")),
        "no option": message(lambda: PytreeAverager(comm, good, groupsize=2)),
        "no communicator": message(lambda: PytreeAverager(None, good)),
    }
    with PytreeAverager(comm, good, sync_period=2) as averager:
        said["timeout"] = message(lambda: setattr(averager, "timeout", -1))
        for name, wrong in {"integer": integer, "longer": longer, "less": less, "more": more}.items():
            said[f"{name}, eager"] = message(lambda wrong=wrong: averager(wrong))
            said[f"{name}, jit"] = message(lambda wrong=wrong: jax.jit(averager)(wrong))
        said["steps"] = averager.step
        averager(good)
        said["synchronisation"] = message(lambda: averager(longer if comm.rank else good))
        averager(good)
        said["steps after"] = averager.step
    return said


def shown(comm):
    """Return what an averager says of itself, and what it says to a copy of it."""
    with PytreeAverager(comm, {"w": jnp.zeros(3)}, sync_period=7, quorum=2) as averager:
        own = [averager.group_size, averager.sync_period, averager.quorum, averager.patience, averager.bytes]
        own += [averager.window, averager.progress, averager.hosts]
        return repr(averager), message(lambda: copy.copy(averager)), own


def subnormal(comm):
    """Return numbers at the low end of float32, and three eager and three compiled averages of them."""
    least = np.array([2.0**-149, -(2.0**-130), 2.0**-126], np.float32)
    with PytreeAverager(comm, least, group_size=comm.size, quorum=comm.size, sync_period=3) as averager:
        eager = [np.asarray(averager(least)).tolist() for _ in range(3)]
        compiled = [np.asarray(jax.jit(averager)(least)).tolist() for _ in range(3)]
    return [least.tolist(), eager, compiled]


def unclosed(comm):
    """End with a compiled step under way and an averager that was not closed."""
    averager = PytreeAverager(comm, jnp.zeros(1000), sync_period=1)
    jax.jit(averager)(averager.params)
    return "returned"


def seen(comm, folder, backend):
    """Return what ranks(), status, metrics and a trace tell of compiled steps."""
    params = {"w": jnp.ones(1000)}
    averager = PytreeAverager(comm, params, backend=backend, trace=Path(folder, "run.json"), sync_period=5)
    step = jax.jit(lambda params: averager(jax.tree.map(lambda leaf: leaf + 1, params)))
    for _ in range(10):
        params = step(params)
    text = metrics.text(averager)
    comm.Barrier()
    told = [[rank.step, rank.state, rank.times] for rank in averager.ranks()]
    own = averager.status.rank
    comm.Barrier()
    averager.close()
    return told, own, f'wagma_rma_step{{rank="{comm.rank}"}} 10' in text.splitlines()
