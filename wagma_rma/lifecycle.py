"""The life of an averager: its states, the transitions between them, and the calls that each state serves.

Rule 1, as in h11: all transitions stand in one table, and nothing else changes a state.

    READY          every call is served
    SYNCHRONIZING  a synchronisation has begun and is not complete: a timeout or Ctrl-C may have cut it short
    COUNTED_ON     the same, and the other ranks count on this rank's part in it
    BROKEN         the averager can't go on after an error
    CLOSING        close() has begun and is not complete
    CLOSING_COUNTED_ON  the same, and the others count on this rank's part in a synchronisation
    CLOSED         the end
"""

from enum import Enum, auto

from mpi4py import MPI


class State(Enum):
    """Where an averager is in its life; see above."""

    READY = auto()
    SYNCHRONIZING = auto()
    COUNTED_ON = auto()
    BROKEN = auto()
    CLOSING = auto()
    CLOSING_COUNTED_ON = auto()
    CLOSED = auto()


class Event(Enum):
    """What changes the state of an averager."""

    BEGIN = auto()
    """A synchronisation begins, or is continued."""
    COUNT_ON = auto()
    """A synchronisation was cut short when the others knew that this rank's arguments were right."""
    SYNCHRONIZED = auto()
    """A synchronisation is complete."""
    REFUSED = auto()
    """All ranks have refused a synchronisation together, since one found an error in its arguments."""
    BREAK = auto()
    """A step was left in the middle, or ranks wait for each other at different steps."""
    CLOSE = auto()
    """close() is called."""
    ENDED = auto()
    """All ranks have called close()."""


class Call(Enum):
    """A call of a user; average() is either a group step or a synchronisation."""

    GROUP_STEP = auto()
    SYNCHRONIZE = auto()
    BUFFERS = auto()
    CLOSE = auto()


TRANSITIONS = {
    State.READY: {
        Event.BEGIN: State.SYNCHRONIZING,
        Event.BREAK: State.BROKEN,
        Event.CLOSE: State.CLOSING,
    },
    State.SYNCHRONIZING: {
        Event.BEGIN: State.SYNCHRONIZING,
        Event.COUNT_ON: State.COUNTED_ON,
        Event.SYNCHRONIZED: State.READY,
        Event.REFUSED: State.READY,
        Event.BREAK: State.BROKEN,
        Event.CLOSE: State.CLOSING,
    },
    State.COUNTED_ON: {
        Event.BEGIN: State.COUNTED_ON,
        Event.COUNT_ON: State.COUNTED_ON,
        Event.SYNCHRONIZED: State.READY,
        Event.REFUSED: State.READY,
        Event.BREAK: State.BROKEN,
        Event.CLOSE: State.CLOSING_COUNTED_ON,
    },
    State.BROKEN: {Event.CLOSE: State.CLOSING},
    State.CLOSING: {Event.CLOSE: State.CLOSING, Event.ENDED: State.CLOSED},
    State.CLOSING_COUNTED_ON: {
        Event.CLOSE: State.CLOSING_COUNTED_ON,
        Event.SYNCHRONIZED: State.CLOSING,
        Event.BREAK: State.CLOSING,
    },
    State.CLOSED: {},
}

_CUT_SHORT = (
    "rank {rank} was cut short while it synchronised step {step}; "
    "call synchronize() with the model of that step to complete it"
)
_BROKEN = "this averager can't go on after an error ({cause}); close it and make a new one"
_CLOSING = "this averager is being closed; call close() again"
_CLOSED = "this averager is closed; make a new one"

# Which calls a state refuses, and what it answers. It serves all others.
_EACH_STEP = (Call.GROUP_STEP, Call.SYNCHRONIZE, Call.BUFFERS)
REFUSALS = {
    State.READY: {},
    State.SYNCHRONIZING: {Call.GROUP_STEP: _CUT_SHORT},
    State.COUNTED_ON: {Call.GROUP_STEP: _CUT_SHORT},
    State.BROKEN: dict.fromkeys(_EACH_STEP, _BROKEN),
    State.CLOSING: dict.fromkeys(_EACH_STEP, _CLOSING),
    State.CLOSING_COUNTED_ON: dict.fromkeys(_EACH_STEP, _CLOSING),
    State.CLOSED: dict.fromkeys(_EACH_STEP, _CLOSED),
}
READY = State.READY  # what a group step compares with


class Lifecycle:
    """The state of one averager on one rank. Local."""

    def __init__(self) -> None:
        self.state = State.READY
        self._cause = ""

    def happens(self, event: Event, cause: BaseException | None = None) -> None:
        """Change the state as the table says.

        Args:
            cause: the error, if the event is BREAK.
        """
        if cause is not None:
            self._cause = str(cause) or type(cause).__name__
        self.state = TRANSITIONS[self.state][event]

    def check(self, call: Call, name: str, rank: int, step: int) -> None:
        """Refuse a call that can't be served.

        Args:
            name: of the method that was called, for the message.
            step: the next step.

        Raises:
            RuntimeError: this state refuses the call, or MPI has been finalised.
        """
        if self.state is not State.CLOSED and MPI.Is_finalized():
            raise RuntimeError(f"{name}: MPI has been finalised; end the averager's work before")
        refusal = REFUSALS[self.state].get(call)
        if refusal is not None:
            raise RuntimeError(f"{name}: {refusal.format(rank=rank, step=step, cause=self._cause)}")
