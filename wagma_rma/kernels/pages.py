"""Private memory in pages of its own, which drivers of devices may keep."""

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


def private(nbytes: int) -> npt.NDArray[Any]:
    """Return so many bytes of private memory, which a fork of this process does not get.

    A driver keeps the pages that are registered with it. After a fork this process would write to others.

    Raises:
        MemoryError: there is too little.
    """
    try:
        pages = mmap.mmap(-1, max(1, nbytes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no private memory of {nbytes} bytes: {error}") from error
    pages.madvise(mmap.MADV_DONTFORK)
    return np.frombuffer(pages, np.uint8)
