from wagma_rma.model.copies import Copies, DeviceLeaves

LIBRARY: str

class CudaError(RuntimeError): ...

class Driver:
    @property
    def library(self) -> str: ...
    def __init__(self, library: str = ..., where: str = ...) -> None: ...

class CudaCopies(Copies):
    room: list[int]
    def __init__(
        self,
        driver: Driver,
        order: list[int],
        memory: list[tuple[int, int]],
        room: list[int],
        held: object = ...,
    ) -> None: ...
    def fetch(self, leaves: DeviceLeaves, places: list[int], sizes: list[int]) -> None: ...
    def wait(self, leaves: DeviceLeaves) -> None: ...
    def close(self) -> None: ...
