from collections.abc import Callable
from threading import Lock

from wagma_rma.floats import DefaultFloats
from wagma_rma.model import Array, Sources
from wagma_rma.pieces import Pieces
from wagma_rma.protocol import Protocol

def deliver(outputs: list[Array], targets: list[Array] | list[int]) -> None: ...

class Stepper:
    halfway: bool
    def __init__(
        self,
        protocol: Protocol,
        pieces: Pieces,
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
