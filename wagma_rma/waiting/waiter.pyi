from collections.abc import Callable
from typing import Any

class Waiter:
    raised: int
    watcher: Callable[[float, int], Any] | None
    def wait_for(self, test: Callable[[], bool], longest: float = ...) -> float: ...
    def time(self) -> float: ...
