from typing import Any

from wagma_rma.model.structure import Array
from wagma_rma.protocol.protocol import Protocol

def take_steps(
    protocol: Protocol, first: int, last: int, model: Array, out: Array, seed: int, longest_sleep: float
) -> list[tuple[dict[str, Any], float, float]]: ...
