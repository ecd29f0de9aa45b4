"""Packs of leaves: what a compiled step passes instead of each leaf of a model with very many.

The time that XLA takes to compile a call grows with the square of the number of its operands. So of a model
with many leaves only the largest are operands themselves. The others are copied, so many at a time, into
buffers that are operands too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jax_bindings.xla_call import room

MOST_OPERANDS = 256  # all leaves of a model with no more than these are operands themselves
ALONE = 128  # the largest leaves of a model with more: they are operands themselves
TOGETHER = 128  # leaves of a pack


@dataclass(frozen=True, slots=True)
class Pack:
    """Leaves, by number, that are copied into one buffer."""

    leaves: list[int]
    nbytes: int


@dataclass(frozen=True, slots=True)
class Packing:
    """How the leaves of a model become operands: first those that stand alone, then the packs.

    Attributes:
        alone: leaves, by number.
        packs: of the others.
        places: of each leaf, its operand and the offset in bytes.
    """

    alone: list[int]
    packs: list[Pack] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)

    def addresses(self, operands: list[int]) -> list[int]:
        """Return the addresses of leaves from those of operands."""
        return [operands[operand] + offset for operand, offset in self.places]


def packing(shapes: Sequence[tuple[tuple[int, ...], np.dtype]], on_cpu: bool = True) -> Packing:
    """Return how leaves of these shapes and dtypes become operands.

    Args:
        on_cpu: packs are for CPUs alone, whose memory we can copy.
    """
    sizes = [int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes]
    everything = list(range(len(sizes)))
    if len(sizes) <= MOST_OPERANDS or not on_cpu:
        return Packing(everything, [], [(i, 0) for i in everything])
    alone = sorted(sorted(everything, key=lambda i: -sizes[i])[:ALONE])
    places = {leaf: (operand, 0) for operand, leaf in enumerate(alone)}
    others = [i for i in everything if i not in places]
    packs: list[Pack] = []
    for begin in range(0, len(others), TOGETHER):
        offset, members = 0, others[begin : begin + TOGETHER]
        for leaf in members:
            places[leaf] = len(alone) + len(packs), offset
            offset += room(sizes[leaf])
        packs.append(Pack(members, offset))
    return Packing(alone, packs, [places[i] for i in everything])
