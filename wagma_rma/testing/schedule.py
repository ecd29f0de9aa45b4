"""Schedules: which rank of a simulation runs at each turn, and what interferes with it."""

from dataclasses import dataclass

FOREVER = 1 << 60


@dataclass(frozen=True)
class Stop:
    """A rank that does nothing for some turns of the simulation."""

    at: int
    """The turn of all ranks at which it stops; with `verb` the operation of its own after which it stops,
    counted from 1."""
    rank: int
    turns: int = FOREVER
    """For how many turns, or fewer if no other rank can run. FOREVER: it never runs again."""
    verb: str = ""
    """Count this rank's operations of this verb ("fetch_add", say) instead of turns."""
    seconds: float = 0.0
    """What is added to its clock. Otherwise a rank's clock advances by its own turns and waits only."""


@dataclass(frozen=True)
class Interruption:
    """A rank whose first wait after some turn is interrupted, as by a signal handler that raises."""

    KINDS = (KeyboardInterrupt, TimeoutError, ValueError, StopIteration, GeneratorExit)

    turn: int
    rank: int
    kind: type[BaseException] = KeyboardInterrupt
    """What it raises."""


@dataclass(frozen=True)
class Silence:
    """A round trip that an exception ends, as where the memory of another host does not answer.

    Of the operations on words that the rank has begun, only some, the first ones, happen.
    """

    trip: int
    """Which of this rank's round trips, counted from 1. Each call that completes operations is one."""
    rank: int
    kind: type[BaseException] = TimeoutError
    """What is raised."""


@dataclass(frozen=True)
class Schedule:
    """How a simulation chooses at each point where it has a choice.

    A choice is a number below the number of options. Option 0 is the one that changes least:

    - the same rank runs on (or if it waits, another one);
    - operations complete in the order in which they began;
    - a load finds the newest value that it may find;
    - clocks advance slowly.

    So a schedule of zeros is the dullest one, and a failing schedule shrinks towards it.
    """

    choices: bytes = b""
    """The first choices, each modulo the number of options. Scheduler.choices has all that a run made."""
    policy: str = "dull"
    """How the choices after these are made.

    - "dull": always 0.
    - "random": the rank that runs changes often or seldom; the seed decides which.
    - "round-robin": the rank that runs changes every `span` turns.
    - "priorities": the rank with the highest priority runs. A rank falls to the lowest priority when it
      waits, and when it is running at one of `changes` random turns among the first `span` (Burckhardt et
      al., ASPLOS 2010: few preemptions find most races).
    """
    seed: int = 0
    span: int = 1
    changes: int = 3
    stops: tuple[Stop, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    silences: tuple[Silence, ...] = ()
