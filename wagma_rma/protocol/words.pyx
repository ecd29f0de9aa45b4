"""The limits that the widths of the words' fields set, and the `entered` word of synchronisations."""

STEP_LIMIT = <uint64_t> 1 << STEP_BITS       # steps stay below
PIN_LIMIT = <uint64_t> 1 << PIN_BITS         # so do the pins that one snapshot can collect between synchronisations
MOST_SLOTS = <uint64_t> 1 << SLOT_BITS       # snapshots that a word can name
PINS_SHIFT = SLOT_BITS + STEP_BITS  # where the pins begin in `published`

# The stages of a synchronisation in `entered`. The word only grows, so a step that all ranks have refused together
# (FAILED) is tried again as another attempt.
ARRIVED, PUBLISHED, FAILED = 1, 2, 3
CLOSED = <uint64_t> 1 << (STEP_BITS + ATTEMPT_BITS + PHASE_BITS)  # greater than any step's word
KEEPS_ARRAYS = 1  # added to CLOSED by a rank of which somebody still has arrays in the window


def pack_entered(step, attempt, stage):
    """Return the `entered` word of a rank in a synchronisation."""
    return (step << ATTEMPT_BITS | attempt) << PHASE_BITS | stage


def entered_step(word):
    """Return the step that an `entered` word below CLOSED names."""
    return word >> (ATTEMPT_BITS + PHASE_BITS)


def entered_stage(word):
    """Return the stage that an `entered` word below CLOSED names."""
    return word & mask(PHASE_BITS)


def entered_attempt(word):
    """Return the attempt that an `entered` word below CLOSED names."""
    return word >> PHASE_BITS & mask(ATTEMPT_BITS)
