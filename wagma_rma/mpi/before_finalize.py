"""What is done when MPI_Finalize begins, where a program calls it before it has ended its work."""

from collections.abc import Callable

from mpi4py import MPI


class BeforeFinalize:
    """Has MPI_Finalize make a call before it does anything else, until forget(). Local.

    MPI_Finalize deletes the attributes of MPI_COMM_SELF first, the newest before the others. So this comes
    before what an older attribute does, such as that of a window (finalize_hook).
    """

    def __init__(self, call: Callable[[], object]) -> None:
        self._call: Callable[[], object] | None = call
        self._keyval = MPI.Comm.Create_keyval(delete_fn=self._deleted)
        MPI.COMM_SELF.Set_attr(self._keyval, None)

    def forget(self) -> None:
        """Have nothing done any more."""
        if self._call is not None and not MPI.Is_finalized():
            self._call = None
            MPI.COMM_SELF.Delete_attr(self._keyval)
            MPI.Comm.Free_keyval(self._keyval)

    def _deleted(self, *ignored: object) -> None:
        if self._call is not None:
            self._call()
