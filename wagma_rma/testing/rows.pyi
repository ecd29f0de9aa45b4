from wagma_rma.protocol.row import Row

def write_calls(
    row: Row,
    begin: float | None,
    compute: list[float],
    seconds: float,
    waited: float,
    late: list[bool],
    repeats: int = ...,
) -> None: ...
