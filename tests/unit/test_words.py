"""What the words of a window hold: fields that fill them, limits, and an `entered` word that only grows."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.launch import ROOT
from wagma_rma.protocol.words import (
    ARRIVED,
    CLOSED,
    FAILED,
    KEEPS_WINDOW,
    MOST_SLOTS,
    PIN_LIMIT,
    PINS_SHIFT,
    PUBLISHED,
    STEP_LIMIT,
    entered_attempt,
    entered_stage,
    entered_step,
    pack_entered,
)

SOURCE = (ROOT / "wagma_rma/protocol/words.pxd").read_text()
STAGES = st.sampled_from([ARRIVED, PUBLISHED, FAILED])
ATTEMPTS = st.integers(0, (1 << 24) - 1)
# Numbers near both ends, and any.
STEPS = st.integers(0, 3) | st.integers(STEP_LIMIT - 3, STEP_LIMIT - 1) | st.integers(0, STEP_LIMIT - 1)


def fields(word):
    """Return the widths of a word's fields, as the table in words.pxd has them."""
    line = re.search(rf"^    {word} +(.*:.*)$", SOURCE, re.MULTILINE)[1]
    return [(name, int(bits)) for name, bits in re.findall(r"(\w+) : (\d+)", line)]


def widths():
    return {name: int(bits) for name, bits in re.findall(r"^    (\w+_BITS) = (\d+)", SOURCE, re.MULTILINE)}


def test_the_fields_of_each_word_fill_it():
    for word in ("published", "state", "contribution", "chunk"):
        assert sum(bits for _, bits in fields(word)) == 64, word
    # A maximum is kept of it, which an MPI may take for signed: the highest bit is unused.
    assert 1 + sum(bits for _, bits in fields("entered")) == 63


def test_the_table_of_fields_states_the_widths_that_are_used():
    bits = widths()
    same_width = {
        "pins": "PIN_BITS",
        "age": "PIN_BITS",
        "step": "STEP_BITS",
        "slot": "SLOT_BITS",
        "phase": "PHASE_BITS",
        "mark": "PHASE_BITS",
        "stage": "PHASE_BITS",
        "arrivals": "MEMBER_BITS",
        "member": "MEMBER_BITS",
        "attempt": "ATTEMPT_BITS",
    }
    told = [
        field for word in ("published", "state", "contribution", "chunk", "entered") for field in fields(word)
    ]
    assert {name for name, _ in told} == set(same_width)
    assert all(bits[same_width[name]] == width for name, width in told)


def test_the_limits_are_those_of_the_fields():
    bits = widths()
    assert 1 << bits["STEP_BITS"] == STEP_LIMIT
    assert 1 << bits["PIN_BITS"] == PIN_LIMIT
    assert 1 << bits["SLOT_BITS"] == MOST_SLOTS
    assert bits["SLOT_BITS"] + bits["STEP_BITS"] == PINS_SHIFT


@settings(max_examples=60)
@given(STEPS, ATTEMPTS, STAGES)
def test_an_entered_word_gives_back_what_it_was_packed_from(step, attempt, stage):
    word = pack_entered(step, attempt, stage)
    assert entered_step(word) == step
    assert entered_attempt(word) == attempt
    assert entered_stage(word) == stage


@settings(max_examples=60)
@given(st.tuples(STEPS, ATTEMPTS, STAGES), st.tuples(STEPS, ATTEMPTS, STAGES))
def test_entered_grows_with_the_step_then_the_attempt_then_the_stage(one, other):
    assert (pack_entered(*one) < pack_entered(*other)) == (one < other)


def test_the_stages_come_in_the_order_of_a_synchronisation():
    assert ARRIVED < PUBLISHED < FAILED


def test_closed_is_above_every_step_and_tells_who_keeps_arrays():
    assert pack_entered(STEP_LIMIT - 1, (1 << 24) - 1, FAILED) < CLOSED
    assert not CLOSED & KEEPS_WINDOW
    assert CLOSED + KEEPS_WINDOW < 1 << 63


def test_a_stage_that_all_have_refused_is_behind_every_stage_of_the_next_attempt():
    assert pack_entered(5, 0, FAILED) < pack_entered(5, 1, ARRIVED)
    assert entered_step(pack_entered(5, 1, ARRIVED)) == 5
