"""Looks at the steps in a program that JAX has traced."""

import jax


def waits(jaxpr):
    """Return for each step of a program which one it waits for, by number, or None."""
    made_by = {variable: equation for equation in jaxpr.eqns for variable in equation.outvars}
    steps = [equation for equation in jaxpr.eqns if equation.primitive.name == "wagma_step"]
    found = []
    for step in steps:
        before = None
        for variable in step.invars[step.params["results"] :]:
            before = made_by[variable]
            while before.primitive.name != "wagma_step":
                before = made_by[before.invars[0]]
        found.append(None if before is None else steps.index(before))
    return found


def traced(function, *arguments):
    """Return, as waits(), what the steps of a function wait for."""
    return waits(jax.make_jaxpr(function)(*arguments).jaxpr)
