from collections.abc import Callable
from threading import Lock

from wagma_rma.kernels.floats import DefaultFloats
from wagma_rma.model.structure import Array, Sources
from wagma_rma.model.leaf_pointers import LeafPointers
from wagma_rma.protocol.protocol import Protocol

def deliver(outputs: list[Array], targets: list[Array] | list[int]) -> None: ...

class Stepper:
    halfway: bool
    def __init__(
        self,
        protocol: Protocol,
        pointers: LeafPointers,
        order: list[int],
        floats: DefaultFloats,
        busy: Lock,
        expect: Callable[[], None],
    ) -> None: ...
    def step(
        self,
        sources: Sources,
        targets: list[Array] | list[int],
        outputs: list[Array],
    ) -> bool: ...
