"""The life of an averager: what each state serves and refuses, and where each event leads."""

import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wagma_rma import lifecycle
from wagma_rma.lifecycle import Call, Event, Lifecycle, State

# One row a state; "-": the event can't happen there.
TABLE = """
                   JOIN               ALL_JOINED BEGIN              COUNT_ON           SYNCHRONIZED REFUSED BREAK   CLOSE              ENDED  FORK
READY              JOINED             -          SYNCHRONIZING      -                  -            -       BROKEN  CLOSING            -      FORKED
SYNCHRONIZING      MEETING            -          SYNCHRONIZING      COUNTED_ON         READY        READY   BROKEN  CLOSING            -      FORKED
COUNTED_ON         MEETING_COUNTED_ON -          COUNTED_ON         COUNTED_ON         READY        READY   BROKEN  CLOSING_COUNTED_ON -      FORKED
JOINED             JOINED             READY      MEETING            -                  -            -       BROKEN  CLOSING            -      FORKED
MEETING            MEETING            -          MEETING            MEETING_COUNTED_ON JOINED       JOINED  BROKEN  CLOSING            -      FORKED
MEETING_COUNTED_ON MEETING_COUNTED_ON -          MEETING_COUNTED_ON MEETING_COUNTED_ON JOINED       JOINED  BROKEN  CLOSING_COUNTED_ON -      FORKED
BROKEN             -                  -          -                  -                  -            -       BROKEN  CLOSING            -      FORKED
CLOSING            -                  -          -                  -                  -            -       CLOSING CLOSING            CLOSED FORKED
CLOSING_COUNTED_ON -                  -          -                  -                  CLOSING      -       CLOSING CLOSING_COUNTED_ON -      FORKED
CLOSED             -                  -          -                  -                  -            -       -       -                  -      CLOSED
FORKED             -                  -          -                  -                  -            -       -       -                  -      FORKED
"""  # noqa: E501
EVENTS, *ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [(row[0], event, to) for row in ROWS for event, to in zip(EVENTS, row[1:], strict=True)]

CUT_SHORT = (
    "name: rank 3 was cut short while it synchronised step 8; "
    "call synchronize() with the model of that step to complete it"
)
BROKEN = "name: this averager can't go on after an error (rank 1 has closed); close it and make a new one"
CLOSING = "name: this averager is being closed; call close() again"
CLOSED = "name: this averager is closed; make a new one"
JOINED = "name: rank 3 has called join(), which is not complete; call join() again with the same model"
FORKED = (
    f"name: process {os.getpid()} has made this averager, and this one is a fork of it; use the averager "
    "there, or start this process by multiprocessing's 'spawn' and make another one here"
)
STEPS = (Call.GROUP_STEP, Call.SYNCHRONIZE, Call.JOIN, Call.BUFFERS)
REFUSED = {
    **{
        (state, call): JOINED
        for state in (State.JOINED, State.MEETING, State.MEETING_COUNTED_ON)
        for call in (Call.GROUP_STEP, Call.SYNCHRONIZE)
    },
    (State.SYNCHRONIZING, Call.GROUP_STEP): CUT_SHORT,
    (State.COUNTED_ON, Call.GROUP_STEP): CUT_SHORT,
    **{(State.BROKEN, call): BROKEN for call in STEPS},
    **{(State.CLOSING, call): CLOSING for call in STEPS},
    **{(State.CLOSING_COUNTED_ON, call): CLOSING for call in STEPS},
    **{(State.CLOSED, call): CLOSED for call in STEPS},
    **{(State.FORKED, call): FORKED for call in Call},
}

# The events that lead from READY to each state.
WAYS = {
    State.READY: [],
    State.JOINED: [Event.JOIN],
    State.MEETING: [Event.JOIN, Event.BEGIN],
    State.MEETING_COUNTED_ON: [Event.JOIN, Event.BEGIN, Event.COUNT_ON],
    State.SYNCHRONIZING: [Event.BEGIN],
    State.COUNTED_ON: [Event.BEGIN, Event.COUNT_ON],
    State.BROKEN: [Event.BREAK],
    State.CLOSING: [Event.BREAK, Event.CLOSE],
    State.CLOSING_COUNTED_ON: [Event.BEGIN, Event.COUNT_ON, Event.CLOSE],
    State.CLOSED: [Event.BREAK, Event.CLOSE, Event.ENDED],
    State.FORKED: [Event.FORK],
}


def in_state(state):
    """Return an averager's life that has come to a state."""
    life = Lifecycle()
    for event in WAYS[state]:
        life.happens(event, RuntimeError("rank 1 has closed") if event is Event.BREAK else None)
    assert life.state is state
    return life


def refusal(life, call):
    """Return the message with which a call is refused, or None if it is served."""
    try:
        life.check(call, "name", 3, 8)
    except RuntimeError as error:
        return str(error)
    return None


def test_the_states_are_those_that_the_module_explains():
    explained = re.findall(r"^    ([A-Z_]+)  +\S", lifecycle.__doc__, re.MULTILINE)
    assert explained == [state.name for state in State]


def test_an_averager_begins_ready():
    assert Lifecycle().state is State.READY


@pytest.mark.parametrize(("state", "event", "to"), [cell for cell in CELLS if cell[2] != "-"])
def test_an_event_leads_where_the_table_says(state, event, to):
    life = in_state(State[state])
    life.happens(Event[event])
    assert life.state is State[to]


@pytest.mark.parametrize(("state", "event"), [cell[:2] for cell in CELLS if cell[2] == "-"])
def test_any_other_event_is_an_error_and_changes_nothing(state, event):
    life = in_state(State[state])
    with pytest.raises(KeyError):
        life.happens(Event[event])
    assert life.state is State[state]


def test_the_table_here_has_every_state_and_every_event():
    assert [row[0] for row in ROWS] == [state.name for state in State]
    assert [event.name for event in Event] == EVENTS


@pytest.mark.parametrize("call", Call, ids=lambda call: call.name)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_a_call_is_served_or_refused_with_what_to_do(state, call):
    life = in_state(state)
    assert refusal(life, call) == REFUSED.get((state, call))
    assert life.state is state


@pytest.mark.parametrize(
    ("error", "cause"), [(ValueError("no room"), "no room"), (MemoryError(), "MemoryError")]
)
def test_a_broken_averager_tells_the_error_that_broke_it(error, cause):
    life = Lifecycle()
    life.happens(Event.BREAK, error)
    assert f"({cause})" in refusal(life, Call.GROUP_STEP)


@pytest.mark.parametrize("call", Call, ids=lambda call: call.name)
@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_nothing_is_served_once_mpi_is_finalised_but_a_second_close(monkeypatch, state, call):
    monkeypatch.setattr(lifecycle, "MPI", SimpleNamespace(Is_finalized=lambda: True))
    said = refusal(in_state(state), call)
    if state in (State.CLOSED, State.FORKED):
        assert said == REFUSED.get((state, call))
    else:
        assert said == "name: MPI has been finalised; end the averager's work before"


def test_the_others_are_told_of_a_break_and_of_its_cause():
    told = []
    life = Lifecycle()
    life.on_break = told.append
    error = RuntimeError("rank 1 has closed")
    life.happens(Event.BREAK, error)
    life.happens(Event.CLOSE)
    assert told == [error]


def test_a_forked_process_finds_its_averagers_refused_and_its_parent_does_not():
    program = """
import os
from wagma_rma.lifecycle import Lifecycle, State
life = Lifecycle()
if (child := os.fork()) == 0:
    os._exit(life.state is State.FORKED)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
assert life.state is State.READY
"""
    # A process of its own, since forks of one that has threads may hang.
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


class Life(RuleBasedStateMachine):
    """Any sequence of calls and of their outcomes, told by facts: what is served follows from them alone."""

    def __init__(self):
        super().__init__()
        self.life = Lifecycle()
        self.halfway = self.counted_on = self.broken = self.closing = self.closed = self.joined = False

    def served(self, call):
        """Say whether the facts allow a call."""
        if call is Call.CLOSE:
            return True
        if self.broken or self.closing or self.closed:
            return False
        if self.joined and call in (Call.GROUP_STEP, Call.SYNCHRONIZE):
            return False
        return not (call is Call.GROUP_STEP and self.halfway)

    def call(self, call):
        """Make a call; return whether it was served, and see that it should be."""
        served = refusal(self.life, call) is None
        assert served == self.served(call)
        return served

    def breaks(self):
        self.life.happens(Event.BREAK, RuntimeError("left in the middle"))
        self.broken = True
        self.halfway = self.counted_on = self.joined = False

    @rule(
        outcomes=st.lists(st.sampled_from(["complete", "refused by all"]), max_size=2),
        end=st.sampled_from(["returns", "cut short", "cut short in a meeting", "counted on", "mismatch"]),
    )
    def join(self, outcomes, end):
        """Join, take part in synchronisations with these outcomes, and end or be cut short."""
        if not self.call(Call.JOIN):
            return
        self.life.happens(Event.JOIN)
        self.joined = True
        for outcome in outcomes:
            self.life.happens(Event.BEGIN)
            self.life.happens(Event.SYNCHRONIZED if outcome == "complete" else Event.REFUSED)
            self.halfway = self.counted_on = False
        if end == "mismatch":
            self.breaks()
        elif end in ("cut short in a meeting", "counted on"):
            self.life.happens(Event.BEGIN)
            self.halfway = True
            if end == "counted on":
                self.life.happens(Event.COUNT_ON)
                self.counted_on = True
        elif end == "returns" and not self.halfway:
            self.life.happens(Event.ALL_JOINED)
            self.joined = False

    @rule(left_in_the_middle=st.booleans())
    def group_step(self, left_in_the_middle):
        if self.call(Call.GROUP_STEP) and left_in_the_middle:
            self.breaks()

    @rule()
    def buffers(self):
        self.call(Call.BUFFERS)

    @rule(outcome=st.sampled_from(["complete", "cut short", "counted on", "refused by all", "mismatch"]))
    def synchronize(self, outcome):
        if not self.call(Call.SYNCHRONIZE):
            return
        self.life.happens(Event.BEGIN)
        self.halfway = True
        if outcome == "counted on":
            self.life.happens(Event.COUNT_ON)
            self.counted_on = True
        elif outcome == "mismatch":
            self.breaks()
        elif outcome != "cut short":
            self.life.happens(Event.SYNCHRONIZED if outcome == "complete" else Event.REFUSED)
            self.halfway = self.counted_on = False

    @precondition(lambda self: not self.closed)  # closing twice does nothing
    @rule(outcome=st.sampled_from(["cut short", "own part done", "cut short after it", "all have closed"]))
    def close(self, outcome):
        self.call(Call.CLOSE)
        self.life.happens(Event.CLOSE)
        self.closing, self.joined = True, False
        if self.counted_on:
            if outcome == "cut short":
                return
            self.life.happens(Event.SYNCHRONIZED)
            self.halfway = self.counted_on = False
        if outcome == "all have closed":
            self.life.happens(Event.ENDED)
            self.closed = True

    @invariant()
    def others_that_count_on_this_rank_are_never_left_waiting(self):
        states = (State.COUNTED_ON, State.MEETING_COUNTED_ON, State.CLOSING_COUNTED_ON)
        assert self.counted_on == (self.life.state in states)

    @invariant()
    def join_goes_on_until_it_returns(self):
        assert self.joined == (self.life.state in lifecycle.IN_JOIN)

    @invariant()
    def the_end_is_the_end(self):
        assert self.closed == (self.life.state is State.CLOSED)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
