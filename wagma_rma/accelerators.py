"""The copies of one averager's steps on models that lie on an accelerator."""

import logging

from wagma_rma.devices.cuda import CudaCopies, CudaError, Driver
from wagma_rma.kernels.pages import private
from wagma_rma.model.copies import DeviceLeaves
from wagma_rma.model.structure import Array, Structure
from wagma_rma.protocol.layout import Layout
from wagma_rma.protocol.snapshots import Snapshots

logger = logging.getLogger("wagma_rma")


class Accelerators:
    """Makes the copies when a step needs them first, and ends them before the window is freed. Local.

    They use the window as memory of this host, and one private model where averages are made.
    """

    def __init__(self, snapshots: Snapshots, layout: Layout, structure: Structure, rank: int) -> None:
        self._snapshots = snapshots
        self._layout = layout
        self._structure = structure
        self._rank = rank
        self._cuda: CudaCopies | None = None

    def cuda(self) -> CudaCopies:
        """Return the copies of models on CUDA devices.

        Raises:
            CudaError: the driver's library can't be used.
        """
        if self._cuda is None:
            room = private(self._layout.private_bytes)
            memory = [*self._snapshots.bulk(), (room.ctypes.data, room.nbytes)]
            places = [room.ctypes.data + offset for offset in self._layout.private_offsets()]
            driver = Driver(where=f"rank {self._rank}: ")
            self._cuda = CudaCopies(driver, self._layout.order, memory, places, room)
        return self._cuda

    def fetched(self, leaves: DeviceLeaves) -> list[Array]:
        """Return leaves as arrays of this host."""
        arrays = self._structure.empty()
        places, sizes = [array.ctypes.data for array in arrays], [array.nbytes for array in arrays]
        self.cuda().fetch(leaves, places, sizes)
        return arrays

    def close(self) -> None:
        """Have drivers forget the window's memory. It may fail after an error of a driver; that is logged."""
        copies, self._cuda = self._cuda, None
        if copies is not None:
            try:
                copies.close()
            except CudaError as error:
                logger.warning("close: memory stays registered with the driver: %s", error)
