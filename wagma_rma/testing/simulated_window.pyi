from wagma_rma.testing.simulated_memory import SimulatedMemory
from wagma_rma.windows.window import Window

class SimulatedWindow(Window):
    def __init__(self, memory: SimulatedMemory, rank: int, lanes: int = 1) -> None: ...
    @property
    def memory(self) -> SimulatedMemory: ...
