from wagma_rma.testing.scheduler import Scheduler
from wagma_rma.windows.window import Window

Event = tuple[int, int, str, int, int, int, int]

class SimulatedMemory:
    def __init__(self, scheduler: Scheduler, nbytes: int, words: int) -> None: ...
    def events(self) -> list[Event]: ...

class SimulatedWindow(Window):
    def __init__(self, memory: SimulatedMemory, rank: int, lanes: int = 1) -> None: ...
