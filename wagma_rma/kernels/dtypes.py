"""The dtypes that can be averaged. A dtype's place in this table is its number, in layouts and in kernels.h.

A new dtype needs a row here; its number in kernels.h (enum wagma_dtype); in kernels_for.h its conversions to
and from the type of its sums, a line KERNELS(...), and its two functions in the table at the end; and its
number and width in jax_bindings (xla_call). numpy must know it by this name. Sums in double are for number 0
alone (Snapshots.sums).
"""

from typing import NamedTuple


class Dtype(NamedTuple):
    """A dtype of models."""

    name: str
    """As numpy has it."""
    width: int
    """Bytes of an element."""
    sum_width: int
    """Bytes of an element of the sums: 8 for double, 4 for float."""


DTYPES = (
    Dtype("float64", 8, 8),
    Dtype("float32", 4, 4),
    Dtype("float16", 2, 4),
    Dtype("bfloat16", 2, 4),
)
NAMES = tuple(dtype.name for dtype in DTYPES)
