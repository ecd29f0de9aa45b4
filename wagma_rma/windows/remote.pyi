from mpi4py import MPI

from wagma_rma.windows.window import Window

class RemoteWindow(Window):
    hosts: tuple[int, ...]
    progress: str
    why: str
    def __init__(
        self,
        comm: MPI.Intracomm,
        hosts: tuple[int, ...],
        nbytes: int,
        words_bytes: int,
        progress: str = ...,
    ) -> None: ...
    def look(self, ranks: list[int], offset: int, nbytes: int, seconds: float) -> list[bytes | None]: ...
    def stop_looks(self) -> None: ...
    @property
    def freed(self) -> bool: ...
    def free(self) -> None: ...
