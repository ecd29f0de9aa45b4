class Streaming:
    window: bool
    output: bool
    in_place: bool
    def __init__(self, model_bytes: int) -> None: ...
