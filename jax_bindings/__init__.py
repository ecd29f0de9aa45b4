"""Wait-avoiding group model averaging for JAX: any pytree of arrays, in or out of jit.

`pytree` holds the averager. It takes pytrees apart with `leaves`, performs steps on memory of the host with
`steps`, and puts steps into compiled programs with `compiled`. There a step is an operation of JAX, which
`primitive` defines; it uses `packs` for models of many leaves and `xla_call` for the call that XLA makes.
`optimizer` builds on the averager, and the package `demo` on all of it; nothing here uses the demo.

Of wagma_rma only `wagma_rma.bindings` may be imported here, and of JAX only what is public. optax and the
packages of the demo are optional: only `optimizer.wagma()` and the demo import them.
"""

from jax_bindings.leaves import floating as floating
from jax_bindings.optimizer import WagmaState as WagmaState
from jax_bindings.optimizer import wagma as wagma
from jax_bindings.pytree import PytreeAverager as PytreeAverager
