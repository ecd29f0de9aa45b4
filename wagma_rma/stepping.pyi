from collections.abc import Callable
from threading import Lock

from wagma_rma.kernels.floats import DefaultFloats
from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.model.structure import Array, Sources, Targets
from wagma_rma.protocol.protocol import Protocol

def deliver(outputs: list[Array], targets: Targets) -> None: ...
def check_countable(name: str, step: int) -> None: ...

class Stepper:
    def __init__(
        self,
        protocol: Protocol,
        pointers: LeafPointers,
        floats: DefaultFloats,
        busy: Lock,
        expect: Callable[[], None],
        left_in_the_middle: Callable[[BaseException], None],
    ) -> None: ...
    def step(self, sources: Sources, targets: Targets, outputs: list[Array]) -> bool: ...
