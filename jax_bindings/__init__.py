"""Wait-avoiding group model averaging for JAX: any pytree of arrays, in or out of jit.

PytreeAverager  averages a pytree of arrays at each call
wagma           makes averaging the last part of an optax optimizer; WagmaState: its state
floating        selects the leaves that can be averaged: PytreeAverager(select=floating)

`pytree` holds the averager. It takes pytrees apart with `leaves`, performs steps on memory of the host with
`steps`, and puts steps into compiled programs with `compiled`. There a step is an operation of JAX, which
`primitive` defines; it uses `packs` for models of many leaves and `xla_call` for the call that XLA makes.
`optimizer` builds on the averager, and the package `demo` on all of it; nothing here uses the demo.

Of wagma_rma only `wagma_rma.bindings` may be imported here, and of JAX only what is public. optax and the
packages of the demo are optional: only `optimizer.wagma()` and the demo import them.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

if importlib.util.find_spec("jax") is None:
    raise ImportError("jax_bindings needs JAX, which is not installed; run: pip install 'wagma-rma[jax]'")

if TYPE_CHECKING:
    from jax_bindings.leaves import floating
    from jax_bindings.optimizer import WagmaState, wagma
    from jax_bindings.pytree import PytreeAverager

__all__ = ["PytreeAverager", "WagmaState", "floating", "wagma"]

_HOMES = {
    "PytreeAverager": "jax_bindings.pytree",
    "WagmaState": "jax_bindings.optimizer",
    "floating": "jax_bindings.leaves",
    "wagma": "jax_bindings.optimizer",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for. JAX takes seconds to import, and the demo has something to say before."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    """Return what help() and completion show."""
    return sorted({*globals(), *__all__})
