"""The order of the steps of one program: each waits for the step before it in the same trace.

Nothing here keeps a trace alive: the result of a step is held weakly. The trace itself holds the result until
the trace ends, by an equation that takes it.
"""

import threading
import weakref

import jax
from jax.extend.core import get_opaque_trace_state


class Chain(threading.local):
    """The newest step of each program that this thread is tracing."""

    def __init__(self) -> None:
        # The state of a trace refers to the trace weakly. It can be compared, not hashed.
        self._newest: list[tuple[object, weakref.ref[jax.Array]]] = []

    def newest(self) -> list[jax.Array]:
        """Return what the next step in the innermost trace must wait for: one number, or nothing."""
        trace = get_opaque_trace_state()
        results = [result() for known, result in self._newest if known == trace]
        # One number of the result, which costs less than the result.
        return [jax.lax.slice(result.ravel(), (0,), (1,)) for result in results if result is not None]

    def add(self, result: jax.Array) -> None:
        """Note the newest step in the innermost trace, and forget the traces that have ended.

        Args:
            result: of the step, with at least one number. An equation must take it.
        """
        trace = get_opaque_trace_state()
        others = [(known, held) for known, held in self._newest if known != trace and held() is not None]
        self._newest = [*others, (trace, weakref.ref(result))]
