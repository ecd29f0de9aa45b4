"""What an averager tells about its last step and about its run."""

import dataclasses
import enum


class Outcome(enum.Enum):
    """How a rank came out of a step."""

    FRESH = 0
    """The group's average contains the model this rank came with."""
    LATE = 1
    """The group ran on an older model of this rank; the sum was mixed with the one it came with."""
    MISSED = 2
    """The sum was no longer kept, or the wait for it cut short; this rank continues with its own model."""
    SYNCHRONIZED = 3
    """Every rank continues with the mean of all models."""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The last step of one rank."""

    step: int
    outcome: Outcome
    source_step: int
    """Step whose sum was used (MISSED: none was); later than `step` only when LATE."""
    group: tuple[int, ...]
    """Ranks of the group at source_step, in member order, which is the order of summation."""
    ages: tuple[int, ...]
    """Steps by which each member's contribution was older than source_step, in the same order."""
    initiated: bool
    """Whether this rank started the average of `step`."""
    published: bool
    """Whether this rank's model of `step` could be published; False when all slots were pinned."""
    chunks_computed: int
    """Chunks of the model whose sums this rank made."""
    bytes_read: int
    """Bytes read from the models and sums of other ranks."""
    bytes_over_network: int
    """Those of them that came from other hosts."""
    seconds_waited: float
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Statistics:
    """The run of one rank so far: sums over its steps."""

    steps: int
    fresh: int
    late: int
    missed: int
    synchronized: int
    initiated: int
    unpublished: int
    chunks_computed: int
    bytes_read: int
    bytes_over_network: int
    seconds_waited: float
    seconds: float
