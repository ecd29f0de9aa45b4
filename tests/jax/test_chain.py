"""The steps of a program come in its order: which tokens they take, without any ranks."""

import threading

import jax
import jax.numpy as jnp

from jax_bindings import compiled

X = jnp.zeros(3)
NUMBER = 0  # of no step: these programs are traced, and not run


def step(x):
    (average,) = compiled.call(NUMBER, [x])
    return average


def tokens(jaxpr):
    """Return the token that each step takes, or None, and the token that it leaves."""
    steps = [equation for equation in jaxpr.eqns if equation.primitive.name == "wagma_step"]
    return [
        (equation.invars[1] if len(equation.invars) > 1 else None, equation.outvars[1]) for equation in steps
    ]


def test_each_step_takes_the_token_of_the_one_before_it_and_the_first_takes_none():
    # On the same params: nothing else orders them.
    taken = tokens(jax.make_jaxpr(lambda x: [step(x) for _ in range(3)])(X).jaxpr)
    assert [token for token, _ in taken] == [None, taken[0][1], taken[1][1]]


def test_a_program_within_another_has_a_chain_of_its_own():
    def outer(x):
        before = step(x)
        inner = jax.jit(lambda x: (step(x), step(x)))(x)
        return before, inner, step(x)

    jaxpr = jax.make_jaxpr(outer)(X).jaxpr
    taken = tokens(jaxpr)
    assert [token for token, _ in taken] == [None, taken[0][1]]
    (inner,) = [equation.params["jaxpr"].jaxpr for equation in jaxpr.eqns if "jaxpr" in equation.params]
    taken = tokens(inner)
    assert [token for token, _ in taken] == [None, taken[0][1]]


def test_a_trace_that_failed_leaves_nothing_to_the_next():
    def fails(x):
        raise ZeroDivisionError(step(x))

    for _ in range(2):
        try:
            jax.make_jaxpr(fails)(X)
        except ZeroDivisionError as error:
            kept = error  # and with it the trace
        assert tokens(jax.make_jaxpr(step)(X).jaxpr)[0][0] is None
    del kept


def test_programs_that_threads_trace_at_the_same_time_have_chains_of_their_own():
    turns = threading.Barrier(2, timeout=30)
    found = []

    def trace():
        def by_turns(x):  # one for each thread: JAX traces a function once
            for _ in range(3):
                turns.wait()
                x = step(x)
            return x

        found.append(tokens(jax.make_jaxpr(by_turns)(X).jaxpr))

    threads = [threading.Thread(target=trace) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    for taken in found:
        assert [token for token, _ in taken] == [None, taken[0][1], taken[1][1]]


def test_a_result_that_is_dropped_does_not_break_the_chain():
    def drops(x):
        first = step(x)
        y = first + 1
        del first
        return y, step(x)

    taken = tokens(jax.make_jaxpr(drops)(X).jaxpr)
    assert [token for token, _ in taken] == [None, taken[0][1]]
