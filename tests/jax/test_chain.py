"""The steps of a program keep its order: which step each waits for, without any ranks."""

import threading

import jax
import jax.numpy as jnp

from jax_bindings import compiled
from tests.jax.jaxprs import traced, waits

X = jnp.zeros(3)
NUMBER = 0  # of no step: these programs are traced, and not run


def step(x):
    (average,) = compiled.call(NUMBER, [x])
    return average


def test_each_step_waits_for_the_one_before_it_and_the_first_for_none():
    # On the same params: nothing else orders them.
    assert traced(lambda x: [step(x) for _ in range(3)], X) == [None, 0, 1]


def test_steps_on_empty_and_on_single_numbers_are_ordered_too():
    assert traced(lambda *xs: [step(x) for x in xs], jnp.zeros((0, 2)), jnp.zeros(()), X) == [None, 0, 1]


def test_a_program_within_another_has_a_chain_of_its_own():
    def outer(x):
        before = step(x)
        inner = jax.jit(lambda x: (step(x), step(x)))(x)
        return before, inner, step(x)

    jaxpr = jax.make_jaxpr(outer)(X).jaxpr
    assert waits(jaxpr) == [None, 0]
    (inner,) = [
        equation.params["jaxpr"].jaxpr for equation in jaxpr.eqns if equation.params.get("name") == "<lambda>"
    ]
    assert waits(inner) == [None, 0]


def test_a_trace_that_failed_leaves_nothing_to_the_next():
    def fails(x):
        raise ZeroDivisionError(step(x))

    for _ in range(2):
        try:
            jax.make_jaxpr(fails)(X)
        except ZeroDivisionError as error:
            kept = error  # and with it the trace
        assert traced(step, X) == [None]
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

        found.append(traced(by_turns, X))

    threads = [threading.Thread(target=trace) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[None, 0, 1]] * 2


def test_a_step_whose_average_is_dropped_is_waited_for():
    def drops(x):
        step(x)
        return step(x)

    assert traced(drops, X) == [None, 0]
