"""Steps of a compiled program: each happens once, in the order of the program, at every rank."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax_bindings import PytreeAverager, wagma
from tests.support.messages import message
from wagma_rma.testing.probe import Probe

OPTIONS = {"sync_period": 100, "timeout": 30.0}  # a hang of ranks in different orders ends


def unused(rank, averager, params):
    """At rank 0 alone the mean is used, as where that rank writes the log."""
    mean = averager.synchronize(params)
    return jnp.sum(mean["w"]) if rank == 0 else jnp.zeros(())


def unused_everywhere(rank, averager, params):
    averager(params)
    return params


def alike(rank, averager, params):
    return averager(params), averager(params)


def called_twice(rank, averager, params):
    step = jax.jit(averager)
    return step(params), step(params)


def beside_a_gradient(rank, averager, params, wrap=lambda turn: turn):
    """A scan that is differentiated carries other params too, and these are averaged."""

    def loss(w, others):
        def turn(carry, _):
            w, others = carry
            others = averager(others)
            return (jax.tree.map(lambda a, b: jnp.sin(a) * b, w, others), others), None

        (w, _), _ = jax.lax.scan(wrap(turn), (w, others), None, length=3)
        return jnp.sum(w["w"])

    return jax.grad(loss)(params, jax.lax.stop_gradient(params))


def in_a_condition(rank, averager, params):
    """The condition of a loop of three turns is asked four times."""

    def goes_on(state):
        return (averager(params)["w"][0] > -1) & (state < 3)

    return jax.lax.while_loop(goes_on, lambda state: state + 1, 0)


def beside_a_vmap(rank, averager, params):
    return jax.vmap(lambda x: x * averager(params)["w"][0])(jnp.arange(5.0))


def in_a_mapped_branch(rank, averager, params):
    """As vmap computes both branches, this would be a step for each."""
    return jax.vmap(lambda x: jax.lax.cond(x > 2, lambda: averager(params)["w"][0], lambda: jnp.float32(0)))(
        jnp.arange(5.0)
    )


CONSTANT = {"w": np.ones(4)}


def closed_over(rank, averager, params):
    """The params are constants of the program, and of that of the loop."""
    averager(CONSTANT)
    return jax.lax.fori_loop(0, 2, lambda i, x: averager(CONSTANT)["w"] + i, jnp.zeros(4))


PROGRAMS = {
    "closed over": closed_over,
    "unused at a rank": unused,
    "unused": unused_everywhere,
    "alike": alike,
    "called twice": called_twice,
    "beside a gradient": beside_a_gradient,
    "checkpointed": functools.partial(beside_a_gradient, wrap=jax.checkpoint),
    "in a condition": in_a_condition,
    "beside a vmap": beside_a_vmap,
    "in a mapped branch": in_a_mapped_branch,
}


def once(comm, backend):
    """Return how many steps each program does each time it runs, or what it is refused with."""
    done = {}
    params = {"w": jnp.ones(4)}
    for name, program in PROGRAMS.items():
        with PytreeAverager(comm, params, backend=backend, **OPTIONS) as averager:
            compiled = jax.jit(functools.partial(program, comm.rank, averager))

            def count(compiled=compiled, averager=averager):
                counts = []
                for _ in range(2):
                    compiled(params)
                    counts.append(averager.step)
                return counts

            said = message(lambda count=count, name=name: done.update({name: count()}))
            if said != "nothing":
                done[name] = said
    with PytreeAverager(comm, params, backend=backend, **OPTIONS) as averager:
        ahead = jax.jit(lambda p: averager(averager(p))).lower(params).compile()
        ahead(params), ahead(params)
        done["compiled ahead"] = averager.step
        jax.lax.fori_loop(0, 3, lambda i, x: averager(params)["w"] + i, jnp.zeros(4))
        done["a loop outside of jit"] = averager.step - done["compiled ahead"]
        shape = jax.eval_shape(lambda: averager(params))
        done["only its shape"] = [averager.step - done["compiled ahead"] - 3, shape["w"].shape[0]]
    return done


def work(x, size):
    """Compute something that takes the longer the greater `size` is, and that nothing can leave out."""
    y = jnp.sum(jnp.sin(jnp.arange(size * 1000.0) + x["w"][0]))
    return jax.tree.map(lambda leaf: leaf + 0 * y, x)


def plain(a, b, p, q, sizes):
    return a(work(p, sizes[0])), b(work(q, sizes[1]))


def nested(a, b, p, q, sizes):
    """Each step in a function of its own; that of `b` had been traced before."""
    second = jax.jit(b)
    return jax.jit(a)(work(p, sizes[0])), second(work(q, sizes[1]))


def branches(a, b, p, q, sizes):
    def taken(averager, x, size):
        return jax.lax.cond(x["w"][0] > -1e9, lambda x: averager(work(x, size)), lambda x: x, x)

    return taken(a, p, sizes[0]), taken(b, q, sizes[1])


def loops(a, b, p, q, sizes):
    def turn(_, state):
        p, q = state
        return jax.jit(a)(work(p, sizes[0])), b(work(q, sizes[1]))

    return jax.lax.fori_loop(0, 2, turn, (p, q))


SHAPES = {"plain": plain, "nested": nested, "branches": branches, "loops": loops}


def kept(comm, backends):
    """Return the programs in which the steps of two averagers, on unrelated params, lose the order A, B.

    The ranks' programs differ in what comes before each step, and so in what XLA would do first.
    """
    wrong = []
    p, q = {"w": jnp.zeros(50)}, {"w": jnp.zeros(7)}
    with (
        PytreeAverager(comm, p, backend=backends[0], sync_period=1, timeout=30.0) as a,
        PytreeAverager(comm, q, backend=backends[1], sync_period=1, timeout=30.0) as b,
    ):
        called = []
        for name, averager in {"A": a, "B": b}.items():
            for method in ("average", "average_at"):
                Probe(averager).before(method, lambda *_, name=name: called.append(name))
        for sizes in ((1, 1), (1, 300), (300, 1)):
            mine = sizes if comm.rank else sizes[::-1]
            for name, shape in SHAPES.items():
                called.clear()
                compiled = jax.jit(functools.partial(shape, a, b, sizes=mine))
                for _ in range(5):
                    out = compiled(p, q)
                jax.block_until_ready(out)
                if called != ["A", "B"] * (len(called) // 2) or len(called) not in (10, 20):
                    wrong.append(f"{name}, {sizes}: {called}")
            # Programs of their own, called one after the other.
            called.clear()
            first = jax.jit(lambda p, size=mine[0]: a(work(p, size)))
            second = jax.jit(lambda q, size=mine[1]: b(work(q, size)))
            for _ in range(5):
                out = first(p), second(q)
            jax.block_until_ready(out)
            if called != ["A", "B"] * 5:
                wrong.append(f"two programs, {sizes}: {called}")
    return wrong


def adversaries(comm):
    """Train two models against each other, each averaged after every second update; return steps done."""
    batch = (1, 8)[comm.rank % 2]  # an uneven last batch
    a = PytreeAverager(comm, {"w": jnp.full((50, 60), 0.1)}, sync_period=3, timeout=30.0)
    b = PytreeAverager(comm, {"w": jnp.full((60, 1), 0.1)}, sync_period=3, timeout=30.0)
    for_a, for_b = wagma(optax.adam(0.01), a, every=2), wagma(optax.adam(0.01), b, every=2)

    def generated(p, z):
        return jnp.tanh(z @ p["w"])

    def loss_a(p, q, z):
        return jnp.mean(jax.nn.softplus(-generated(p, z) @ q["w"]))

    def loss_b(q, p, x, z):
        return jnp.mean(jax.nn.softplus(-x @ q["w"])) + jnp.mean(jax.nn.softplus(generated(p, z) @ q["w"]))

    @jax.jit
    def step(p, q, state_a, state_b, x, z):
        up, state_a = for_a.update(jax.grad(loss_a)(p, q, z), state_a, p)
        uq, state_b = for_b.update(jax.grad(loss_b)(q, p, x, z), state_b, q)
        return optax.apply_updates(p, up), optax.apply_updates(q, uq), state_a, state_b

    state = a.params, b.params, for_a.init(a.params), for_b.init(b.params)
    for _ in range(12):
        state = step(*state, jnp.ones((batch, 60)), jnp.ones((batch, 50)))
    steps = a.step, b.step
    a.close()
    b.close()
    return steps


def unrelated(comm):
    """Return whether the program of an averager is the same beside another one as alone."""
    p, q = {"w": jnp.zeros(5)}, {"w": jnp.zeros(7), "b": jnp.zeros(3)}
    with PytreeAverager(comm, p, **OPTIONS) as a, PytreeAverager(comm, q, **OPTIONS) as b:
        alone = str(jax.jit(b).lower(q).as_text())
        seen = []

        def both(p, q):
            a(p)
            # Traced while the program of the other is.
            seen.append(str(jax.jit(b).lower(jax.tree.map(np.zeros_like, q)).as_text()))
            return p

        jax.make_jaxpr(lambda p: both(p, jax.tree.map(np.asarray, q)))(p)
        counts = [len(e.invars) for e in jax.make_jaxpr(lambda p, q: (a(p), b(q)))(p, q).jaxpr.eqns]
    return [alone == seen[0], [count for count in counts if count]]
