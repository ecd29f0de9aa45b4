"""What the protocol's 64-bit words hold, field by field, from the highest bit down.

    published      pins : 20 | step : 36 | slot : 8
    state          step : 36 | phase : 2 | arrived : 26
    contribution   step : 36 | age : 20 | slot : 8
    chunk          step : 36 | mark : 2 | member : 26
    entered        of synchronization.py alone
    retired, result_tag, latest, finished   one number

A pin is added at the top of `published`, so its overflow falls off and never reaches the step.
"""

from libc.stdint cimport uint64_t

cdef enum Phase:
    GATHERING = 1
    ACTIVATING = 2
    OPEN = 3

cdef enum Mark:
    CLAIMED = 1
    DONE = 2

cdef inline uint64_t pack_published(uint64_t step, int slot) noexcept nogil:
    return step << 8 | <uint64_t> slot

cdef inline uint64_t one_pin() noexcept nogil:
    return <uint64_t> 1 << 44

cdef inline uint64_t published_pins(uint64_t word) noexcept nogil:
    return word >> 44

cdef inline uint64_t published_step(uint64_t word) noexcept nogil:
    return word >> 8 & ((<uint64_t> 1 << 36) - 1)

cdef inline int published_slot(uint64_t word) noexcept nogil:
    return <int> (word & 0xff)

# A record's words carry their step in the highest 36 bits; an older step means empty.

cdef inline uint64_t word_step(uint64_t word) noexcept nogil:
    return word >> 28

cdef inline uint64_t pack_state(uint64_t step, int phase, int arrived) noexcept nogil:
    return step << 28 | <uint64_t> phase << 26 | <uint64_t> arrived

cdef inline int state_phase(uint64_t word) noexcept nogil:
    return <int> (word >> 26 & 3)

cdef inline int state_arrived(uint64_t word) noexcept nogil:
    return <int> (word & ((1 << 26) - 1))

cdef inline uint64_t pack_contribution(uint64_t step, uint64_t age, int slot) noexcept nogil:
    return step << 28 | age << 8 | <uint64_t> slot

cdef inline uint64_t contribution_age(uint64_t word) noexcept nogil:
    return word >> 8 & ((1 << 20) - 1)

cdef inline int contribution_slot(uint64_t word) noexcept nogil:
    return <int> (word & 0xff)

cdef inline uint64_t pack_chunk(uint64_t step, int mark, int member) noexcept nogil:
    return step << 28 | <uint64_t> mark << 26 | <uint64_t> member

cdef inline int chunk_mark(uint64_t word) noexcept nogil:
    return <int> (word >> 26 & 3)

cdef inline int chunk_member(uint64_t word) noexcept nogil:
    return <int> (word & ((1 << 26) - 1))
