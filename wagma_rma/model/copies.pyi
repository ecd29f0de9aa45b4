class Copies: ...

class DeviceLeaves:
    copies: Copies
    stream: int
    flag: int
    sources: list[int]
    targets: list[int]
    moved: bool
    def __init__(
        self,
        copies: Copies,
        stream: int,
        sources: list[int],
        targets: list[int],
        flag: int = ...,
        moved: bool = ...,
    ) -> None: ...
