"""The life of an averager: its states, the transitions between them, and the calls that each state serves.

Rule 1, as in h11: all transitions stand in one table, and nothing else changes a state.

    READY          every call is served
    SYNCHRONIZING  a synchronisation has begun and is not complete: a timeout or Ctrl-C may have cut it short
    COUNTED_ON     the same, and the other ranks count on this rank's part in it
    JOINED         join() has begun and has not returned: no group steps, but synchronisations with the others
    MEETING        as SYNCHRONIZING, in join()
    MEETING_COUNTED_ON  as COUNTED_ON, in join()
    BROKEN         the averager can't go on after an error
    CLOSING        close() has begun and is not complete
    CLOSING_COUNTED_ON  the same, and the others count on this rank's part in a synchronisation
    CLOSED         the end
    FORKED         this process is a child of the one that made the averager
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum, auto
from weakref import WeakSet

from mpi4py import MPI


class State(Enum):
    """Where an averager is in its life; see above."""

    READY = auto()
    SYNCHRONIZING = auto()
    COUNTED_ON = auto()
    JOINED = auto()
    MEETING = auto()
    MEETING_COUNTED_ON = auto()
    BROKEN = auto()
    CLOSING = auto()
    CLOSING_COUNTED_ON = auto()
    CLOSED = auto()
    FORKED = auto()


IN_JOIN = (State.JOINED, State.MEETING, State.MEETING_COUNTED_ON)


class Event(Enum):
    """What changes the state of an averager."""

    JOIN = auto()
    """join() is called: this rank does no more group steps until all ranks have called it."""
    ALL_JOINED = auto()
    """join() returns the mean of the last synchronisation."""
    BEGIN = auto()
    """A synchronisation begins, or is continued."""
    COUNT_ON = auto()
    """A synchronisation was cut short when the others knew that this rank's arguments were right."""
    SYNCHRONIZED = auto()
    """A synchronisation is complete."""
    REFUSED = auto()
    """All ranks have refused a synchronisation together, since one found an error in its arguments."""
    BREAK = auto()
    """A step was left in the middle, ranks wait for each other at different steps, or a rank has left."""
    CLOSE = auto()
    """close() is called."""
    ENDED = auto()
    """All ranks have called close(), or this rank has called it after an error."""
    FORK = auto()
    """This process was forked from the one that made the averager."""


class Call(Enum):
    """A call of a user; average() is either a group step or a synchronisation."""

    GROUP_STEP = auto()
    SYNCHRONIZE = auto()
    JOIN = auto()
    BUFFERS = auto()
    CLOSE = auto()
    STATE = auto()


TRANSITIONS = {
    State.READY: {
        Event.JOIN: State.JOINED,
        Event.BEGIN: State.SYNCHRONIZING,
        Event.BREAK: State.BROKEN,
        Event.CLOSE: State.CLOSING,
        Event.FORK: State.FORKED,
    },
    State.SYNCHRONIZING: {
        Event.JOIN: State.MEETING,
        Event.BEGIN: State.SYNCHRONIZING,
        Event.COUNT_ON: State.COUNTED_ON,
        Event.SYNCHRONIZED: State.READY,
        Event.REFUSED: State.READY,
        Event.BREAK: State.BROKEN,
        Event.CLOSE: State.CLOSING,
        Event.FORK: State.FORKED,
    },
    State.COUNTED_ON: {
        Event.JOIN: State.MEETING_COUNTED_ON,
        Event.BEGIN: State.COUNTED_ON,
        Event.COUNT_ON: State.COUNTED_ON,
        Event.SYNCHRONIZED: State.READY,
        Event.REFUSED: State.READY,
        Event.BREAK: State.BROKEN,
        Event.CLOSE: State.CLOSING_COUNTED_ON,
        Event.FORK: State.FORKED,
    },
    State.JOINED: {
        Event.JOIN: State.JOINED,
        Event.ALL_JOINED: State.READY,
        Event.BEGIN: State.MEETING,
        Event.BREAK: State.BROKEN,
        Event.CLOSE: State.CLOSING,
        Event.FORK: State.FORKED,
    },
    State.MEETING: {
        Event.JOIN: State.MEETING,
        Event.BEGIN: State.MEETING,
        Event.COUNT_ON: State.MEETING_COUNTED_ON,
        Event.SYNCHRONIZED: State.JOINED,
        Event.REFUSED: State.JOINED,
        Event.BREAK: State.BROKEN,
        Event.CLOSE: State.CLOSING,
        Event.FORK: State.FORKED,
    },
    State.MEETING_COUNTED_ON: {
        Event.JOIN: State.MEETING_COUNTED_ON,
        Event.BEGIN: State.MEETING_COUNTED_ON,
        Event.COUNT_ON: State.MEETING_COUNTED_ON,
        Event.SYNCHRONIZED: State.JOINED,
        Event.REFUSED: State.JOINED,
        Event.BREAK: State.BROKEN,
        Event.CLOSE: State.CLOSING_COUNTED_ON,
        Event.FORK: State.FORKED,
    },
    State.BROKEN: {Event.BREAK: State.BROKEN, Event.CLOSE: State.CLOSING, Event.FORK: State.FORKED},
    State.CLOSING: {
        Event.BREAK: State.CLOSING,
        Event.CLOSE: State.CLOSING,
        Event.ENDED: State.CLOSED,
        Event.FORK: State.FORKED,
    },
    State.CLOSING_COUNTED_ON: {
        Event.CLOSE: State.CLOSING_COUNTED_ON,
        Event.SYNCHRONIZED: State.CLOSING,
        Event.BREAK: State.CLOSING,
        Event.FORK: State.FORKED,
    },
    State.CLOSED: {Event.FORK: State.CLOSED},
    State.FORKED: {Event.FORK: State.FORKED},
}

_CUT_SHORT = (
    "rank {rank} was cut short while it synchronised step {step}; "
    "call synchronize() with the model of that step to complete it"
)
_BROKEN = "this averager can't go on after an error ({cause}); close it and make a new one"
_CLOSING = "this averager is being closed; call close() again"
_CLOSED = "this averager is closed; make a new one"
_JOINED = "rank {rank} has called join(), which is not complete; call join() again with the same model"
_FORKED = (
    "process {pid} has made this averager, and this one is a fork of it; use the averager there, or start "
    "this process by multiprocessing's 'spawn' and make another one here"
)

# Which calls a state refuses, and what it answers. It serves all others.
_EACH_STEP = (Call.GROUP_STEP, Call.SYNCHRONIZE, Call.JOIN, Call.BUFFERS)
REFUSALS = {
    State.READY: {},
    State.SYNCHRONIZING: {Call.GROUP_STEP: _CUT_SHORT},
    State.COUNTED_ON: {Call.GROUP_STEP: _CUT_SHORT},
    State.JOINED: dict.fromkeys((Call.GROUP_STEP, Call.SYNCHRONIZE), _JOINED),
    State.MEETING: dict.fromkeys((Call.GROUP_STEP, Call.SYNCHRONIZE), _JOINED),
    State.MEETING_COUNTED_ON: dict.fromkeys((Call.GROUP_STEP, Call.SYNCHRONIZE), _JOINED),
    State.BROKEN: dict.fromkeys(_EACH_STEP, _BROKEN),
    State.CLOSING: dict.fromkeys(_EACH_STEP, _CLOSING),
    State.CLOSING_COUNTED_ON: dict.fromkeys(_EACH_STEP, _CLOSING),
    State.CLOSED: dict.fromkeys(_EACH_STEP, _CLOSED),
    State.FORKED: dict.fromkeys(Call, _FORKED),
}
READY = State.READY  # what a group step compares with

_all: WeakSet[Lifecycle] = WeakSet()


class Lifecycle:
    """The state of one averager on one rank. Local."""

    on_break: Callable[[BaseException | None], None]
    """Called at each BREAK, with the error."""

    def __init__(self) -> None:
        self.state = State.READY
        self.on_break = _nothing
        self._cause = ""
        self._pid = os.getpid()
        _all.add(self)

    def happens(self, event: Event, cause: BaseException | None = None) -> None:
        """Change the state as the table says.

        Args:
            cause: the error, if the event is BREAK.
        """
        if cause is not None:
            self._cause = str(cause) or type(cause).__name__
        self.state = TRANSITIONS[self.state][event]
        if event is Event.BREAK:
            self.on_break(cause)

    def check(self, call: Call, name: str, rank: int, step: int) -> None:
        """Refuse a call that can't be served.

        Args:
            name: of the method that was called, for the message.
            step: the next step.

        Raises:
            RuntimeError: this state refuses the call, or MPI has been finalised.
        """
        if self.state not in (State.CLOSED, State.FORKED) and MPI.Is_finalized():
            raise RuntimeError(f"{name}: MPI has been finalised; end the averager's work before")
        refusal = REFUSALS[self.state].get(call)
        if refusal is not None:
            told = refusal.format(rank=rank, step=step, cause=self._cause, pid=self._pid)
            raise RuntimeError(f"{name}: {told}")


def _nothing(cause: BaseException | None) -> None:
    pass


def _forked() -> None:
    for lifecycle in list(_all):
        lifecycle.happens(Event.FORK)


os.register_at_fork(after_in_child=_forked)
