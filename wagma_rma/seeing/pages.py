"""Pages of memory that show a rank's row to other programs of its user on its host.

A page is a file without a name (memfd_create), which exists for as long as its process has it. Others find it
by its link in /proc, and read it by the same way. It begins with what does not change.
"""

import mmap
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wagma_rma.protocol.row import BYTES
from wagma_rma.seeing.rows import Row, read_row

NAME = "wagma_rma"
ROW_AT = 1024
_NBYTES = 4096
_MAGIC, _VERSION = b"wagmarow", 1
_HEADER = struct.Struct("<8sIIIII40s256s")
_LINK = f"/memfd:{NAME} (deleted)"
_PROC = Path("/proc")
TRIES = 5  # to read a row that its rank is writing


def open_page(identity: str, rank: int, ranks: int, host: int, hosts: int) -> mmap.mmap | None:
    """Return a new page, or None if the system gives none. Local.

    Args:
        identity: of the averager, the same at all its ranks.
        host, hosts: the number of this host, and how many there are.
    """
    try:
        file = os.memfd_create(NAME, os.MFD_CLOEXEC)
        try:
            os.ftruncate(file, _NBYTES)
            page = mmap.mmap(file, _NBYTES)  # which keeps the file open
        finally:
            os.close(file)
    except OSError:
        return None
    program = " ".join(sys.argv).encode(errors="replace")[:255]
    head = (_MAGIC, _VERSION, rank, ranks, host, hosts, identity.encode(), program)
    page[: _HEADER.size] = _HEADER.pack(*head)
    return page


class Page(NamedTuple):
    """What a page shows."""

    identity: str
    rank: int
    ranks: int
    host: int
    hosts: int
    program: str
    row: Row
    pid: int
    """As this process counts; the rank may count in another namespace."""


def find_pages(proc: Path = _PROC) -> Iterator[Page]:
    """Yield the pages of all processes that this user may look into. Local."""
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            yield from pages_of(int(folder.name), proc)


def pages_of(pid: int, proc: Path = _PROC) -> Iterator[Page]:
    """Yield the pages of one process; none if it has ended, or belongs to another user."""
    try:
        links = list((proc / str(pid) / "fd").iterdir())
    except OSError:
        return
    for link in links:
        try:
            if os.readlink(link) != _LINK:
                continue
            found = _read(link, pid)
        except OSError:
            continue  # it has been closed meanwhile
        # A process that was forked from a rank has the rank's pages too.
        if found is not None:
            yield found


def _read(link: Path, pid: int) -> Page | None:
    for _ in range(TRIES):
        with link.open("rb") as file:
            page = file.read(_NBYTES)
        if len(page) < _NBYTES:
            return None
        magic, version, rank, ranks, host, hosts, identity, program = _HEADER.unpack_from(page)
        if (magic, version) != (_MAGIC, _VERSION):
            return None
        row = read_row(page[ROW_AT : ROW_AT + BYTES])
        if row is not None:
            names = (text.rstrip(b"\0").decode(errors="replace") for text in (identity, program))
            return Page(next(names), rank, ranks, host, hosts, next(names), row, pid)
    return None
