from wagma_rma.protocol.layout import Layout
from wagma_rma.windows.window import Window

class Calls:
    def __init__(
        self,
        window: Window,
        layout: Layout,
        leader: int = ...,
        sync_period: int = ...,
        group_period: int = ...,
    ) -> None: ...
