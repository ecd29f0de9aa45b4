"""Training loops written with optax: wagma() beside the averager called by hand; the choice of leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_bindings import PytreeAverager, floating, wagma
from tests.jax.programs.pytree import numpy_leaves
from tests.support.messages import message
from tests.support.models import same_bits


def parameters(rank, step=0):
    """Return parameters whose sizes differ by rank far more than floats of their precision can tell."""
    random = np.random.default_rng([rank, step])
    scale = np.float32(10.0) ** random.integers(-6, 7, 40).astype(np.float32)
    wide = (random.normal(size=40) * scale).astype(np.float32)
    return {"w": jnp.asarray(wide), "half": {"b": jnp.asarray(wide[:7], jnp.bfloat16)}}


def quadratic(params):
    return sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(params))


def optimizers():
    """Return inner optimizers of every composition that wagma() promises."""
    schedule = optax.cosine_decay_schedule(0.1, 50)
    return {
        "adam": optax.adam(0.1),
        "chain": optax.chain(
            optax.clip_by_global_norm(1.0), optax.add_decayed_weights(1e-3), optax.sgd(schedule)
        ),
        "inject": optax.inject_hyperparams(optax.sgd)(learning_rate=0.1, momentum=0.9),
        "masked": optax.masked(optax.sgd(0.1), {"w": True, "half": False}),
        "accumulated": optax.MultiSteps(optax.sgd(0.1), 2),
    }


def off(found, average, params):
    """Return whether new params are further off an average than updates of float32 may leave them."""
    for new, right, old in zip(*map(numpy_leaves, (found, average, params)), strict=True):
        new, right, old = (leaf.astype(np.float64) for leaf in (new, right, old))
        exact = (right / old >= 0.5) & (right / old <= 2)
        last_bit = 2.0**-23 * np.maximum(abs(old), abs(right))
        if (new != right)[exact].any() or (abs(new - right) > last_bit).any():
            return True
    return False


def lands(comm):
    """Train with wagma() in jit and without, and with the averager called by hand; return all differences."""
    wrong = []
    options = {"sync_period": 3, "quorum": comm.size, "group_size": comm.size, "broadcast": False}
    # Far from the others: the average differs from what a rank comes with by factors.
    start = parameters(comm.rank)
    for name, inner in optimizers().items():
        by_hand, *within = [PytreeAverager(comm, start, **options) for _ in range(3)]
        optimizer = [wagma(inner, averager) for averager in within]
        params, states = [start, start], [one.init(start) for one in optimizer]

        def update(one, params, state):
            updates, state = one.update(jax.grad(quadratic)(params), state, params)
            return optax.apply_updates(params, updates), state

        inner_update = jax.jit(lambda params, state, inner=inner: update(inner, params, state))
        compiled = jax.jit(lambda params, state, one=optimizer[0]: update(one, params, state))
        for step in range(1, 5):
            moved, _ = inner_update(params[0], states[0].inner)
            right = by_hand(moved)
            new, states[0] = compiled(params[0], states[0])
            if off(new, right, params[0]):
                wrong.append(f"{name}, step {step}: compiled, not the averager's average")
            params[0] = new
            # Apart from compiled steps: XLA may round a fused update otherwise than its parts.
            updates, inner_state = inner.update(jax.grad(quadratic)(params[1]), states[1].inner, params[1])
            own = optax.apply_updates(params[1], updates)
            updates, states[1] = optimizer[1].update(jax.grad(quadratic)(params[1]), states[1], params[1])
            params[1] = optax.apply_updates(params[1], updates)
            expected = np.mean(comm.allgather(np.asarray(own["w"], np.float64)), axis=0)
            if not np.allclose(params[1]["w"], expected, rtol=1e-4, atol=1e-30 + 1e-6 * abs(expected).max()):
                wrong.append(f"{name}, eager step {step}: not the mean of the inner updates")
            if not same_bits(numpy_leaves(states[1].inner), numpy_leaves(inner_state)):
                wrong.append(f"{name}, step {step}: another inner state")
        for averager in (by_hand, *within):
            averager.close()
    return wrong


def like_arrays(comm):
    """Return what optax sees in updates, and in those of leaves and calls that are not averaged."""
    params = {"w": jnp.full(3, 10.0), "half": jnp.full(2, 10.0, jnp.bfloat16), "step": jnp.int32(7)}
    gradient = {"w": jnp.ones(3), "half": jnp.ones(2, jnp.bfloat16), "step": jnp.int32(0)}
    inner = optax.masked(optax.sgd(0.1), {"w": True, "half": True, "step": False})
    facts = {}
    with PytreeAverager(comm, params, select=floating, sync_period=1) as averager:
        one = wagma(inner, averager)
        for name, update in {"eager": one.update, "jit": jax.jit(one.update)}.items():
            updates, _ = update(gradient, one.init(params), params)
            facts[name] = {key: [str(leaf.dtype), list(leaf.shape)] for key, leaf in updates.items()}
            facts[f"{name}: norm"] = round(float(optax.tree.norm(updates)), 4)
        clipped = optax.chain(wagma(optax.sgd(0.1), averager), optax.clip_by_global_norm(1.0))
        floats = [{"w": tree["w"], "half": tree["half"]} for tree in (gradient, params)]
        updates, _ = jax.jit(clipped.update)(floats[0], clipped.init(floats[1]), floats[1])
        facts["clipped"] = [round(float(leaf[0]), 3) for leaf in (updates["w"], updates["half"])]
        rarely = wagma(inner, averager, every=2)
        updates, _ = jax.jit(rarely.update)(gradient, rarely.init(params), params)
        alone, _ = jax.jit(inner.update)(gradient, inner.init(params), params)
        facts["alone"] = same_bits(
            numpy_leaves(optax.apply_updates(params, updates)),
            numpy_leaves(optax.apply_updates(params, alone)),
        )
    return facts


def outside(comm):
    """Wrap wagma() in what optax wraps optimizers with, and average every second update; return facts."""
    start = parameters(comm.rank)
    options = {"sync_period": 1, "broadcast": False}
    facts = {}
    mask = {"w": True, "half": False}
    with PytreeAverager(comm, start, select=mask, **options) as averager:
        masked = optax.masked(wagma(optax.sgd(0.1), averager), mask)
        updates, _ = jax.jit(masked.update)(jax.tree.map(jnp.zeros_like, start), masked.init(start), start)
        result, steps = optax.apply_updates(start, updates), averager.step
        (mean,) = numpy_leaves(averager({"w": start["w"], "half": start["half"]})["w"])
        facts["masked"] = [off({"w": result["w"]}, {"w": mean}, {"w": start["w"]}), steps]
        facts["left alone"] = same_bits([np.asarray(result["half"]["b"])], [np.asarray(start["half"]["b"])])
        facts["steps"] = []
        rarely = wagma(optax.sgd(0.1), averager, every=2)
        for update in (rarely.update, jax.jit(rarely.update)):
            state = rarely.init(start)
            for _ in range(4):
                _, state = update(jax.tree.map(jnp.zeros_like, start), state, start)
                jax.block_until_ready(state)
                facts["steps"].append(averager.step)
        facts["no params"] = message(lambda: rarely.update(start, rarely.init(start)))
        facts["swapped"] = message(lambda: wagma(averager, optax.sgd(0.1)))
        facts["no averager"] = message(lambda: wagma(optax.sgd(0.1), start))
        facts["every"] = message(lambda: wagma(optax.sgd(0.1), averager, every=0))
    return facts


def seldom(comm):
    """Train with groups at every second step, eagerly, in jit and in a scan; return differences."""
    wrong = []
    start, inner = parameters(0), optax.sgd(0.1, momentum=0.9)
    gradient = jax.tree.map(lambda leaf: jnp.full_like(leaf, comm.rank + 1), start)
    options = {"sync_period": 4, "group_period": 2, "quorum": comm.size, "group_size": comm.size}
    for how in ("eager", "jit", "scan"):
        with PytreeAverager(comm, start, **options) as averager:
            optimizer = wagma(inner, averager)

            def step(carry, _, optimizer=optimizer):
                params, state = carry
                updates, state = optimizer.update(gradient, state, params)
                params = optax.apply_updates(params, updates)
                return (params, state), params

            carry, found = (averager.params, optimizer.init(averager.params)), []
            if how == "scan":
                _, each = jax.jit(lambda carry, step=step: jax.lax.scan(step, carry, None, 5))(carry)
                found = [jax.tree.map(lambda leaf, i=i: leaf[i], each) for i in range(5)]
            for _ in range(0 if how == "scan" else 5):
                carry, params = (jax.jit(step) if how == "jit" else step)(carry, None)
                found.append(params)
            own, state = start, inner.init(start)
            for number, params in enumerate(found, start=1):
                updates, state = inner.update(gradient, state, own)
                own = optax.apply_updates(own, updates)
                if number % 2 == 0:
                    own = jax.tree.map(lambda leaf: mean(comm, leaf), own)
                for one, other in zip(*map(numpy_leaves, (params, own)), strict=True):
                    near = {"rtol": 2e-2 if one.dtype == jnp.bfloat16 else 1e-5, "atol": 1e-6}
                    if not np.allclose(one, other, **near):
                        wrong.append(f"{how}, step {number}")
                own = params
            counts = averager.statistics
            if (averager.step, counts.local, counts.fresh, counts.synchronized) != (5, 3, 1, 1):
                wrong.append(f"{how}: {counts}")
    return wrong


def moments(comm):
    """Average the moments too, eagerly, in jit and every second update; return differences."""
    wrong = []
    start = parameters(comm.rank)
    inner = optax.adam(0.1)
    pair = (start, inner.init(start))
    gradient = jax.tree.map(lambda leaf: jnp.full_like(leaf, comm.rank + 1), start)
    for every, jit in ((1, False), (1, True), (2, False), (2, True)):
        with PytreeAverager(comm, pair, select=floating, sync_period=1, broadcast=False) as averager:
            optimizer = wagma(inner, averager, every=every, moments=True)
            update = jax.jit(optimizer.update) if jit else optimizer.update
            params, state = start, optimizer.init(start)
            own, own_state = start, inner.init(start)
            for step in range(1, 5):
                updates, state = update(gradient, state, params)
                params = optax.apply_updates(params, updates)
                updates, own_state = inner.update(gradient, own_state, own)
                own = optax.apply_updates(own, updates)
                if step % every == 0:
                    own, own_state = jax.tree.map(
                        lambda leaf: mean(comm, leaf) if floating((), leaf) else leaf, (own, own_state)
                    )
                for name, found, expected in (("params", params, own), ("state", state.inner, own_state)):
                    if not all(
                        np.allclose(a, b, rtol=2e-2 if a.dtype == jnp.bfloat16 else 1e-5)
                        for a, b in zip(numpy_leaves(found), numpy_leaves(expected), strict=True)
                    ):
                        wrong.append(f"every {every}, jit {jit}, step {step}: {name}")
            if int(state.inner[0].count) != 4 or averager.step != 4 // every:
                wrong.append(f"every {every}: count {state.inner[0].count}, step {averager.step}")
    return wrong


def moments_synchronized(comm):
    """Average the state at synchronisations only; return differences, and what is refused."""
    wrong = []
    start, inner = parameters(comm.rank), optax.adam(0.1)
    pair = (start, inner.init(start))
    gradient = jax.tree.map(lambda leaf: jnp.full_like(leaf, comm.rank + 1), start)
    options = {"sync_period": 3, "group_size": comm.size, "quorum": comm.size, "broadcast": False}
    for jit in (False, True):
        with PytreeAverager(
            comm, pair, select=floating, select_synchronized=(False, True), **options
        ) as averager:
            optimizer = wagma(inner, averager, moments="synchronize")
            update = jax.jit(optimizer.update) if jit else optimizer.update
            params, state = start, optimizer.init(start)
            own, own_state = start, inner.init(start)
            for step in range(1, 8):
                updates, state = update(gradient, state, params)
                params = optax.apply_updates(params, updates)
                updates, own_state = inner.update(gradient, own_state, own)
                own = jax.tree.map(lambda leaf: mean(comm, leaf), optax.apply_updates(own, updates))
                if step % 3 == 0:
                    own_state = jax.tree.map(
                        lambda leaf: mean(comm, leaf) if floating((), leaf) else leaf, own_state
                    )
                for name, found, expected in (("params", params, own), ("state", state.inner, own_state)):
                    if not all(
                        np.allclose(a, b, rtol=2e-2 if a.dtype == jnp.bfloat16 else 1e-5)
                        for a, b in zip(numpy_leaves(found), numpy_leaves(expected), strict=True)
                    ):
                        wrong.append(f"jit {jit}, step {step}: {name}")
            if averager.statistics.fresh != 5 or not averager.synchronized:
                wrong.append(f"jit {jit}: {averager.statistics}")
    refused = []
    for select in (None, (True, False), (False, False)):
        with PytreeAverager(comm, pair, select=floating, select_synchronized=select, **options) as averager:
            refused.append(message(lambda one=averager: wagma(inner, one, moments="synchronize")))
            refused.append(message(lambda one=averager: wagma(inner, one, moments="always")))
    return wrong, refused


def mean(comm, leaf):
    everywhere = comm.allgather(np.asarray(leaf, np.float32))
    return jnp.asarray(np.mean(everywhere, axis=0), leaf.dtype)


def selected(comm):
    """Average some leaves of a state, eagerly and in jit; return facts."""
    state = {
        "params": {"w": jnp.full(3, float(comm.rank))},
        "step": jnp.int32(7 + comm.rank),
        "key": jax.random.key(comm.rank),
        "moments": [jnp.full(2, float(comm.rank)), jnp.full(2, 10.0 * comm.rank)],
    }
    facts = {}
    ways = {
        "function": lambda path, leaf: path[0].key == "params",
        "tree": {"params": True, "step": False, "key": False, "moments": [True, False]},
        "subtree": {"params": True, "step": False, "key": False, "moments": False},
    }
    for name, select in ways.items():
        with PytreeAverager(comm, state, select=select, sync_period=1, broadcast=False) as averager:
            eager, compiled = averager(state), jax.jit(averager)(state)
            facts[name] = [
                [
                    result["params"]["w"][0].item(),
                    result["step"].item(),
                    *(m[0].item() for m in result["moments"]),
                ]
                for result in (eager, compiled)
            ]
            same_key = jax.random.key_data(compiled["key"]) == jax.random.key_data(state["key"])
            facts[name].append(bool(same_key.all()))
            facts["another leaf"] = message(
                lambda averager=averager: averager({**state, "new": jnp.zeros(1)})
            )
            del state["step"]
            facts["one less"] = averager(state)["params"]["w"][0].item()
            state["step"] = jnp.int32(7 + comm.rank)
    facts["nothing"] = message(lambda: PytreeAverager(comm, state, select=lambda path, leaf: False))
    facts["number"] = message(lambda: PytreeAverager(comm, state, select={**ways["tree"], "step": 0}))
    facts["integer"] = message(lambda: PytreeAverager(comm, state, select={**ways["tree"], "step": True}))
    one_rank = ways["tree"] if comm.rank else ways["subtree"]
    facts["ranks differ"] = message(lambda: PytreeAverager(comm, state, select=one_rank))
    return facts
