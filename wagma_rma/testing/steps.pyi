from wagma_rma.model.structure import Array
from wagma_rma.protocol.protocol import Protocol

Report = tuple[int, int, int, tuple[int, ...], tuple[int, ...], bool, bool, int, int, float, float]

def take_steps(
    protocol: Protocol, first: int, last: int, model: Array, out: Array, seed: int, longest_sleep: float
) -> list[tuple[Report, float, float]]: ...
