"""The examples of the docstrings, on every rank."""

import doctest
import importlib

import numpy as np
from mpi4py import MPI

import wagma_rma

MODULES = ["wagma_rma.averager", "wagma_rma.groups.grouping", "wagma_rma.options"]
MODULES += ["jax_bindings.pytree", "jax_bindings.leaves", "jax_bindings.optimizer"]
# What a reader of any example has imported.
NAMES = {"np": np, "MPI": MPI, "Butterfly": wagma_rma.Butterfly}


def run(comm):
    """Return [failed, attempted] of each module; what fails is printed."""
    return {name: list(doctest.testmod(importlib.import_module(name), extraglobs=NAMES)) for name in MODULES}
