STEP_LIMIT: int
PIN_LIMIT: int
MOST_SLOTS: int
PINS_SHIFT: int
ARRIVED: int
PUBLISHED: int
FAILED: int
CLOSED: int
KEEPS_ARRAYS: int

def pack_entered(step: int, attempt: int, stage: int) -> int: ...
def entered_step(word: int) -> int: ...
def entered_attempt(word: int) -> int: ...
def entered_stage(word: int) -> int: ...
