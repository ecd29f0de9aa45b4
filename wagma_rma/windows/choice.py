"""Which window the ranks of a communicator use."""

from typing import NamedTuple

from mpi4py import MPI

from wagma_rma.windows.remote import RemoteWindow
from wagma_rma.windows.shared import SharedWindow


class OpenedWindow(NamedTuple):
    """A window, and why it is this one."""

    window: SharedWindow | RemoteWindow
    choice: str
    """Its name among the options of GroupAverager, and the reason: "shared: all ranks share a host"."""
    progress: str
    """The same for how operations on a rank that computes make progress: "none: memory that is mapped needs
    none"."""


def is_remote(hosts: tuple[int, ...], window: str = "auto") -> bool:
    """Return whether the window of ranks on these hosts is a remote one. Local.

    Args:
        hosts: the host of each rank (wagma_rma.mpi.hosts.host_numbers).
        window: "shared" or "remote", which is then the answer, or "auto": remote if there is more than one
            host.
    """
    return window == "remote" or (window == "auto" and max(hosts) > 0)


def open_window(
    comm: MPI.Intracomm,
    hosts: tuple[int, ...],
    nbytes: int,
    words_bytes: int,
    window: str = "auto",
    progress: str = "auto",
) -> OpenedWindow:
    """Open a window over the ranks of a communicator. Collective.

    Args:
        comm: the ranks; it must live as long as the window.
        hosts: the host of each rank (wagma_rma.mpi.hosts.host_numbers).
        nbytes: the size of each rank's window, the same at every rank.
        words_bytes: how many of the first bytes hold words; they begin as zero.
        window, progress: as the options of GroupAverager. "shared" is for ranks of one host.

    Raises:
        MemoryError: less shared memory is free than the window needs. On every rank.
    """
    if is_remote(hosts, window):
        remote = RemoteWindow(comm, hosts, nbytes, words_bytes, progress)
        count = max(hosts) + 1
        why = f"the ranks are on {count} hosts" if window == "auto" else "as asked for"
        return OpenedWindow(remote, f"remote: {why}", f"{remote.progress}: {remote.why}")
    shared = SharedWindow(comm, nbytes)
    why = "all ranks share a host" if window == "auto" else "as asked for"
    return OpenedWindow(shared, f"shared: {why}", "none: memory that is mapped needs none")
