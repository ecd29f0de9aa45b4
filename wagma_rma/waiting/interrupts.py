"""Ctrl-C at chosen moments."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Defers SIGINT while code runs that must not be cut in two; deliver() lets it through."""

    def __init__(self) -> None:
        self._handler: Any = None
        self._pending: tuple[int, FrameType | None] | None = None

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer interrupts in this block, if it runs in the main thread: Python interrupts no other."""
        handler = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        # A handler that deliver() calls may come here again: the block around it defers already.
        if not main or not callable(handler) or handler == self._note:
            yield
            return
        self._handler = handler
        signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)
            self.deliver()

    def deliver(self) -> None:
        """Call the handler of a deferred interrupt, if there is one; it usually raises KeyboardInterrupt."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self._handler(*pending)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._pending = number, frame
