"""Who goes on when: the schedules of a simulation."""

from dataclasses import dataclass

FOREVER = 1 << 60


@dataclass(frozen=True)
class Stop:
    """A rank that does nothing for some turns of the simulation."""

    at: int
    """When it stops: at this turn of all ranks together, or after this operation of its own."""
    rank: int
    turns: int = FOREVER
    """For how many turns, or less when nobody else can go on. FOREVER: it never goes on."""
    verb: str = ""
    """Count this rank's operations of this verb only ("fetch_add", say), not turns."""
    seconds: float = 0.0
    """What passes on its clock meanwhile; clocks go on by a rank's own turns and waits only."""


@dataclass(frozen=True)
class Interruption:
    """A rank whose first wait after some turn is interrupted, as by Ctrl-C."""

    turn: int
    rank: int


@dataclass(frozen=True)
class Schedule:
    """How a simulation chooses at each point where it has a choice.

    A choice is a number below the number of options. Options stand in an order in which 0 changes least: the
    same rank goes on (but another one when it waits), operations complete in the order in which they began,
    loads are not older than they need be, clocks go on slowly. So a schedule of zeros is the dull one, and a
    failing schedule shrinks towards it.
    """

    choices: bytes = b""
    """The first choices, each modulo the number of options. A finished simulation tells all that it made."""
    policy: str = "dull"
    """What comes after them: "dull" (always 0), "random", "round-robin" or "priorities".

    "random": who goes on changes often or seldom, as the seed has it. "round-robin": every `span` turns.
    "priorities": the rank with the highest priority goes on; a rank that waits, and whoever is running at
    `changes` random turns among the first `span`, falls to the lowest (Burckhardt et al., ASPLOS 2010: few
    preemptions find most races).
    """
    seed: int = 0
    span: int = 1
    changes: int = 3
    stops: tuple[Stop, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
