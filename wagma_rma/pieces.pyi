from collections.abc import Callable
from typing import TypeAlias

from wagma_rma.model import Array

Sources: TypeAlias = list[Array] | list[int] | list[Callable[[], Array]]

def is_plain(array: Array) -> bool: ...
def is_like(array: object, example: Array | None) -> bool: ...

class Pieces:
    def __init__(self, order: list[int]) -> None: ...
    @property
    def count(self) -> int: ...
    def hold(
        self,
        order: list[int],
        sources: Sources,
        targets: list[Array] | list[int],
    ) -> None: ...
    def release(self) -> None: ...
