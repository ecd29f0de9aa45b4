"""The order of the steps of one program: each takes a token that the step before it left.

Nothing here keeps a trace alive: tokens are held weakly. The trace itself holds a token until it ends, by an
equation that takes the token.
"""

import threading
import weakref

import jax
from jax.extend.core import get_opaque_trace_state


class Chain(threading.local):
    """The newest step of each program that this thread is tracing."""

    def __init__(self) -> None:
        # The state of a trace refers to the trace weakly. It can be compared, not hashed.
        self._tokens: list[tuple[object, weakref.ref[jax.Array]]] = []

    def newest(self) -> jax.Array | None:
        """Return the token of the newest step in the innermost trace, or None before the first."""
        trace = get_opaque_trace_state()
        return next((token() for known, token in self._tokens if known == trace), None)

    def add(self, token: jax.Array) -> None:
        """Make a step the newest in the innermost trace; forget the traces that have ended.

        Args:
            token: the step's.
        """
        trace = get_opaque_trace_state()
        others = [(known, last) for known, last in self._tokens if known != trace and last() is not None]
        self._tokens = [*others, (trace, weakref.ref(token))]
