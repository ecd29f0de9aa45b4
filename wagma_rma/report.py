"""What an averager reports of its last step and of its run."""

import dataclasses
import enum
from typing import Any


class Outcome(enum.Enum):
    """How a step ended for a rank."""

    FRESH = 0
    """The group's average contains the model this rank came with."""
    LATE = 1
    """The group used an older model of this rank; the sum was mixed with the one it came with."""
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
    """Chunks of the model that this rank has summed for its group."""
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


def of_group_step(fields: dict[str, Any]) -> Report:
    """Return the report of a group step from its fields, of which `outcome` is a number."""
    return Report(**{**fields, "outcome": Outcome(fields["outcome"])})


def of_synchronization(step: int, ranks: int, seconds_waited: float, seconds: float) -> Report:
    """Return the report of a synchronisation, or of the start."""
    return Report(
        step=step,
        outcome=Outcome.SYNCHRONIZED,
        source_step=step,
        group=tuple(range(ranks)),
        ages=(0,) * ranks,
        initiated=False,
        published=True,
        chunks_computed=0,
        bytes_read=0,
        bytes_over_network=0,
        seconds_waited=seconds_waited,
        seconds=seconds,
    )


class Synchronizations:
    """Counts and times the synchronisations of one rank."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = self.seconds_waited = 0.0  # of the last one
        self._all_seconds = self._all_seconds_waited = 0.0

    def add(self, seconds: float, seconds_waited: float) -> None:
        """Count one more."""
        self.count += 1
        self.seconds, self.seconds_waited = seconds, seconds_waited
        self._all_seconds += seconds
        self._all_seconds_waited += seconds_waited

    def with_group_steps(self, fields: dict[str, Any]) -> Statistics:
        """Return the statistics of the run, from those of its group steps."""
        return Statistics(
            **{
                **fields,
                "synchronized": self.count,
                "steps": fields["steps"] + self.count,
                "seconds": fields["seconds"] + self._all_seconds,
                "seconds_waited": fields["seconds_waited"] + self._all_seconds_waited,
            }
        )
