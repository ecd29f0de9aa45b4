"""Wait-avoiding group model averaging for JAX: any pytree of arrays, in or out of jit."""

from jax_bindings.optimizer import WagmaState as WagmaState
from jax_bindings.optimizer import wagma as wagma
from jax_bindings.pytree import PytreeAverager as PytreeAverager
from jax_bindings.pytree import floating as floating
