from collections.abc import Sequence

from wagma_rma.protocol.layout import Layout
from wagma_rma.windows.window import Window

MISMATCH: int

class Barrier:
    def __init__(
        self,
        window: Window,
        layout: Layout,
        hosts: Sequence[int],
        quorum: int | None = ...,
        sync_period: int = ...,
    ) -> None: ...
    def arrive(
        self,
        step: int,
        since: int,
        synchronises: bool = ...,
        refuses: bool = ...,
        joining: int = ...,
        calls: bool = ...,
    ) -> None: ...
    def is_over(self) -> bool: ...
    def next_is_over(self, rank: int) -> bool: ...
    def called(self) -> int: ...
    @property
    def leader(self) -> int: ...
    @property
    def elastic(self) -> bool: ...
    @property
    def lost(self) -> bool: ...
    @property
    def number(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def refuser(self) -> int: ...
    @property
    def all_joined(self) -> bool: ...
