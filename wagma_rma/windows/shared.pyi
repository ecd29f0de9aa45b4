from mpi4py import MPI

from wagma_rma.windows.window import Window

SHARED_MEMORY: str

def free_shared_memory() -> int | None: ...

class SharedWindow(Window):
    def __init__(self, comm: MPI.Intracomm, nbytes: int, words_bytes: int) -> None: ...
    def free(self) -> None: ...
