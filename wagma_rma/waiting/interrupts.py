"""Letting Ctrl-C through at the moments one chooses."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Defers SIGINT while code runs that must not be cut in two; deliver() is where it comes through."""

    def __init__(self) -> None:
        self._handler: Any = None
        self._came: tuple[int, FrameType | None] | None = None

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer interrupts in this block, if it runs where Python delivers them: in the main thread."""
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
        """Call the handler of an interrupt that has come; it usually raises KeyboardInterrupt."""
        came, self._came = self._came, None
        if came is not None:
            self._handler(*came)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = number, frame
