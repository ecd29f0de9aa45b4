"""Wait-avoiding group model averaging for JAX: wagma_rma's averager for any pytree of arrays, in or out of jit."""

from jax_bindings.pytree import PytreeAverager as PytreeAverager
