"""What an averager reports of its last step and of its run."""

import dataclasses
import enum
import operator
from typing import Any, NamedTuple


class Outcome(enum.Enum):
    """How a step ended for a rank.

    FRESH: the group's average contains the model that this rank came with.
    LATE: the group used an older model of this rank; the sum was mixed with the one that it came with.
    MISSED: the sum was no longer kept, or the wait for it cut short; this rank goes on with its own model.
    SYNCHRONIZED: every rank goes on with the mean of all models.
    LOCAL: this rank exchanged nothing and goes on with its own model, at no multiple of `group_period`.
    """

    FRESH = 0
    LATE = 1
    MISSED = 2
    SYNCHRONIZED = 3
    LOCAL = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The last step of one rank.

    Attributes:
        step: the number of the step, which is the same at all ranks.
        outcome: how the step ended for this rank (Outcome).
        source_step: the step whose sum was used (MISSED: none was); later than `step` only when LATE.
        group: the ranks of the group at source_step, in member order, which is the order of summation; this
            rank alone at a LOCAL step.
        ages: steps by which the contribution of each member was older than source_step, in the same order.
        initiated: whether this rank started the average of `step`.
        published: whether the model of `step` was published; False where all slots were pinned, or LOCAL.
        chunks_computed: chunks of the model that this rank has summed for its group.
        bytes_read: bytes that this rank has read from the models and sums of others.
        bytes_over_network: those of the bytes_read that came from other hosts.
        seconds_waited: the part of `seconds` in which this rank waited for other ranks.
        seconds: how long the whole call took, waiting included.
        skipped: the number of steps that this rank has left out to come to this synchronisation, to which a
            quorum has called it (sync_quorum); of a rank in join(), the steps that the others did meanwhile.
    """

    step: int
    outcome: Outcome
    source_step: int
    group: tuple[int, ...]
    ages: tuple[int, ...]
    initiated: bool
    published: bool
    chunks_computed: int
    bytes_read: int
    bytes_over_network: int
    seconds_waited: float
    seconds: float
    skipped: int

    def as_dict(self) -> dict[str, int | float]:
        """Return it as numbers by name, for a logger of metrics, or for a row of a table.

        `outcome` is the number of the Outcome, True is 1; in place of `group` and `ages` stand `group_size`,
        `age_mean` and `age_max`.
        """
        numbers = {name: getattr(self, name) for name in self.__slots__ if name not in ("group", "ages")}
        return {
            **{name: value + 0 for name, value in numbers.items() if name != "outcome"},
            "outcome": self.outcome.value,
            "group_size": len(self.group),
            "age_mean": sum(self.ages) / len(self.ages),
            "age_max": max(self.ages),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Statistics:
    """The run of one rank so far: sums over the steps that its averager has performed.

    Attributes:
        steps: the number of steps, of all five outcomes together.
        fresh: the number of steps that ended FRESH (Outcome).
        late: the number of steps that ended LATE.
        missed: the number of steps that ended MISSED.
        synchronized: the number of steps that ended SYNCHRONIZED.
        local: the number of steps that ended LOCAL.
        initiated: the number of averages that this rank started.
        unpublished: the number of group steps whose model could not be published.
        chunks_computed: chunks that this rank has summed for its groups.
        bytes_read: bytes that this rank has read from the models and sums of others.
        bytes_over_network: those of the bytes_read that came from other hosts.
        seconds_waited: the part of `seconds` in which this rank waited for other ranks.
        seconds: how long all calls took together, waiting included.
        skipped: the number of steps that were left out to come to synchronisations; `steps` does not count
        them.
    """

    steps: int
    fresh: int
    late: int
    missed: int
    synchronized: int
    local: int
    initiated: int
    unpublished: int
    chunks_computed: int
    bytes_read: int
    bytes_over_network: int
    seconds_waited: float
    seconds: float
    skipped: int

    def as_dict(self) -> dict[str, int | float]:
        """Return it as numbers by name, for a logger of metrics, or for a row of a table.

        Besides the fields there are `late_share`, of the group steps, and `waited_share`, of the seconds.
        """
        in_groups = self.fresh + self.late + self.missed
        return {
            **dataclasses.asdict(self),
            "late_share": self.late / in_groups if in_groups else 0.0,
            "waited_share": self.seconds_waited / self.seconds if self.seconds else 0.0,
        }


def of_group_step(fields: dict[str, Any]) -> Report:
    """Return the report of a group step or a LOCAL one from its fields, of which `outcome` is a number."""
    return Report(**{**fields, "outcome": Outcome(fields["outcome"]), "skipped": 0})


class Synchronization(NamedTuple):
    """What a synchronisation was like for one rank; the fields are those of Report."""

    seconds: float = 0.0
    seconds_waited: float = 0.0
    skipped: int = 0
    bytes_read: int = 0
    bytes_over_network: int = 0


def of_synchronization(step: int, ranks: int, last: Synchronization) -> Report:
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
        **last._asdict(),
    )


class Synchronizations:
    """Counts the synchronisations of one rank, and adds up what they were like."""

    def __init__(self) -> None:
        self.count = 0
        self.last = self._total = Synchronization()

    def add(self, last: Synchronization) -> None:
        """Count one more."""
        self.count += 1
        self.last = last
        self._total = Synchronization(*map(operator.add, self._total, last))

    def with_group_steps(self, fields: dict[str, Any]) -> Statistics:
        """Return the statistics of the run, from those of its group steps."""
        sums = {name: fields.get(name, 0) + value for name, value in self._total._asdict().items()}
        return Statistics(
            **{**fields, **sums, "synchronized": self.count, "steps": fields["steps"] + self.count}
        )
