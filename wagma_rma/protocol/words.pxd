"""What the protocol's 64-bit words hold, field by field, from the highest bit down.

    published      pins : 20 | step : 36 | slot : 8
    state          step : 36 | phase : 2 | arrivals : 26
    contribution   step : 36 | age : 20 | slot : 8
    chunk          step : 36 | mark : 2 | member : 26
    entered        (one bit, CLOSED) | step : 36 | attempt : 24 | stage : 2
    departure      manner : 2 | step : 36
    process        pid : 22 | namespace : 20 | start : 21
    note           seven bytes of a text
    reached        joined : 24 | arrivals : 40
    said, gathered barrier : 36 | steps since the last synchronisation : 26 | synchronises : 1 | refused : 1
    node           barrier : 25 (its lowest bits) | places : 17 | steps : 20 | synchronises : 1 | refused : 1
    refusing, refused   barrier : 36 | code : 28
    counted        barrier : 36 | arrivals : 28
    contributed    barrier : 36 | slot : 8
    progress       barrier : 36 | stage : 8
    retired, result_tag, latest, finished, called, summed   one number

A pin is added at the top of `published`, so its overflow is lost and never reaches the step. The words of a record
carry their step in the highest 36 bits; an older step means empty. `entered` and `departure` only grow; the protocol's
code in Python packs and reads them by the functions of this module. `process` is packed in waiting.processes.
`reached` to `counted` are a host's (``barrier``).
"""

from libc.stdint cimport uint64_t

# The widths of fields, in bits; each field has one width in all words.
cdef enum:
    STEP_BITS = 36
    PIN_BITS = 20      # also of an age, which is smaller than the pins that a snapshot can collect
    SLOT_BITS = 8
    PHASE_BITS = 2     # also of a mark and of a stage
    MEMBER_BITS = 26   # also of arrivals
    ATTEMPT_BITS = 24
    ARRIVAL_BITS = 40  # of all ranks at all meetings so far
    BARRIER_BITS = 36
    SAID_BITS = 28     # what a word says of a barrier, below the barrier's number
    PLACE_BITS = 17
    NODE_SAID_BITS = 22
    REFUSED = 1        # a bit of what is said

cdef enum Phase:
    GATHERING = 1
    ACTIVATING = 2
    OPEN = 3

cdef enum Mark:
    CLAIMED = 1
    DONE = 2

cdef inline uint64_t mask(int bits) noexcept nogil:
    return (<uint64_t> 1 << bits) - 1

cdef inline uint64_t pack_published(uint64_t step, int slot) noexcept nogil:
    return step << SLOT_BITS | <uint64_t> slot

cdef inline uint64_t one_pin() noexcept nogil:
    return <uint64_t> 1 << (SLOT_BITS + STEP_BITS)

cdef inline uint64_t published_pins(uint64_t word) noexcept nogil:
    return word >> (SLOT_BITS + STEP_BITS)

cdef inline uint64_t published_step(uint64_t word) noexcept nogil:
    return word >> SLOT_BITS & mask(STEP_BITS)

cdef inline int published_slot(uint64_t word) noexcept nogil:
    return <int> (word & mask(SLOT_BITS))

cdef inline uint64_t word_step(uint64_t word) noexcept nogil:
    return word >> (64 - STEP_BITS)

cdef inline uint64_t pack_state(uint64_t step, int phase, int arrivals) noexcept nogil:
    return step << (64 - STEP_BITS) | <uint64_t> phase << MEMBER_BITS | <uint64_t> arrivals

cdef inline int state_phase(uint64_t word) noexcept nogil:
    return <int> (word >> MEMBER_BITS & mask(PHASE_BITS))

cdef inline int state_arrivals(uint64_t word) noexcept nogil:
    return <int> (word & mask(MEMBER_BITS))

cdef inline uint64_t pack_contribution(uint64_t step, uint64_t age, int slot) noexcept nogil:
    return step << (64 - STEP_BITS) | age << SLOT_BITS | <uint64_t> slot

cdef inline uint64_t contribution_age(uint64_t word) noexcept nogil:
    return word >> SLOT_BITS & mask(PIN_BITS)

cdef inline int contribution_slot(uint64_t word) noexcept nogil:
    return <int> (word & mask(SLOT_BITS))

cdef inline uint64_t pack_chunk(uint64_t step, int mark, int member) noexcept nogil:
    return step << (64 - STEP_BITS) | <uint64_t> mark << MEMBER_BITS | <uint64_t> member

cdef inline int chunk_mark(uint64_t word) noexcept nogil:
    return <int> (word >> MEMBER_BITS & mask(PHASE_BITS))

cdef inline int chunk_member(uint64_t word) noexcept nogil:
    return <int> (word & mask(MEMBER_BITS))

cdef inline uint64_t said_steps(uint64_t said) noexcept nogil:
    return (said & mask(SAID_BITS)) >> 2

cdef inline bint said_synchronises(uint64_t said) noexcept nogil:
    return said >> 1 & 1

cdef inline uint64_t pack_node(uint64_t number, uint64_t places, uint64_t said) noexcept nogil:
    return number << (PLACE_BITS + NODE_SAID_BITS) | places << NODE_SAID_BITS | said

cdef inline uint64_t node_number(uint64_t word) noexcept nogil:
    return word >> (PLACE_BITS + NODE_SAID_BITS)

cdef inline uint64_t node_places(uint64_t word) noexcept nogil:
    return word >> NODE_SAID_BITS & mask(PLACE_BITS)

cdef inline uint64_t node_said(uint64_t word) noexcept nogil:
    return word & mask(NODE_SAID_BITS)
