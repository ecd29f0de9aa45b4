FIELDS: tuple[str, ...]

class Events:
    def __init__(self, group_size: int, capacity: int) -> None: ...
    @property
    def count(self) -> int: ...
    def add_synchronization(
        self,
        step: int,
        began: float,
        ended: float,
        waited: float,
        skipped: int,
        bytes_read: int,
        bytes_over_network: int,
        outcome: int,
    ) -> None: ...
    def kept(self) -> tuple[bytes, bytes]: ...
