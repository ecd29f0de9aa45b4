"""The limits that the widths of the words' fields set; the words `entered` and `departure`, and the text in `note`."""

STEP_LIMIT = <uint64_t> 1 << STEP_BITS       # steps stay below
PIN_LIMIT = <uint64_t> 1 << PIN_BITS         # so do the pins that one snapshot can collect between synchronisations
MOST_SLOTS = <uint64_t> 1 << SLOT_BITS       # snapshots that a word can name
PINS_SHIFT = SLOT_BITS + STEP_BITS  # where the pins begin in `published`

# The stages of a synchronisation in `entered`. The word only grows, so a step that all ranks have refused together
# (FAILED) is tried again as another attempt.
ARRIVED, PUBLISHED, FAILED = 1, 2, 3
CLOSED = <uint64_t> 1 << (STEP_BITS + ATTEMPT_BITS + PHASE_BITS)  # greater than any step's word
KEEPS_WINDOW = 1  # added to CLOSED by a rank whose window must be kept: for arrays of the caller, or after an error


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


# How a rank has departed from the steps of a run, in `departure`; later ones are greater.
JOINED = 1  # it has called join()
BROKEN = 2  # its averager can't go on after an error; close() may still come
LEFT = 3    # it has left by an exception, or its program has ended, without close()


def pack_departure(manner, step):
    """Return the `departure` word of a rank whose last step is `step`."""
    return manner << STEP_BITS | step


def departure_manner(word):
    """Return how a rank has departed, or 0 if it has not."""
    return word >> STEP_BITS


def departure_step(word):
    """Return the last step of a rank that has departed."""
    return word & mask(STEP_BITS)


def pack_note(text, words):
    """Return a text, cut to its length if need be, as words below 2^63."""
    encoded = text.encode()[:7 * words]
    return [int.from_bytes(encoded[7 * i:7 * i + 7], "little") for i in range(words)]


def read_note(words):
    """Return the text that words hold."""
    return b"".join([word.to_bytes(8, "little")[:7] for word in words]).rstrip(b"\0").decode(errors="ignore")
