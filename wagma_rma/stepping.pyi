from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Lock
from types import TracebackType
from typing import Any

from wagma_rma.buffers import Buffers
from wagma_rma.kernels.floats import DefaultFloats
from wagma_rma.lifecycle import Lifecycle
from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.model.structure import Array, Sources, Targets
from wagma_rma.protocol.protocol import Protocol

def deliver(outputs: list[Array], targets: Targets) -> None: ...
def check_countable(name: str, step: int) -> None: ...

class Guard:
    def __init__(
        self,
        deferral: AbstractContextManager[None],
        busy: Lock,
        floats: DefaultFloats,
        refuse: Callable[[], None],
    ) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

class Stepper:
    buffers: Buffers
    def __init__(
        self,
        protocol: Protocol,
        pointers: LeafPointers,
        floats: DefaultFloats,
        sync_period: int,
        group_period: int,
        single: Array | None,
        buffers: Buffers,
        lifecycle: Lifecycle,
        busy: Lock,
        check: Callable[[], None],
        expect: Callable[[], None],
        refuse: Callable[[], None],
        look: Callable[[], object] = ...,
        end: Callable[[BaseException], object] = ...,
    ) -> None: ...
    def await_rest(self, begins_step: bool = ...) -> None: ...
    def synchronizes_next(self) -> bool: ...
    def is_local_next(self) -> bool: ...
    def step_in_place(self, model: Any, out: Any) -> bool: ...
    def next_multiple(self) -> int: ...
    def step(self, sources: Sources, targets: Targets, outputs: list[Array]) -> bool: ...
