"""The examples of the docstrings, on every rank."""

import doctest
import importlib

MODULES = ["wagma_rma.averager", "wagma_rma.groups.grouping", "wagma_rma.options"]
MODULES += ["jax_bindings.pytree", "jax_bindings.optimizer"]


def run(comm):
    """Return [failed, attempted] of each module; what fails is printed."""
    return {name: list(doctest.testmod(importlib.import_module(name))) for name in MODULES}
