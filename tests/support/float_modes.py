"""Threads whose floating-point arithmetic is not the default one, as those of XLA."""

import ctypes
import ctypes.util
import platform
from contextlib import contextmanager

LIBM = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
X86 = platform.machine() == "x86_64"
FE_UPWARD = 0x800 if X86 else 0x400000
# Where the control register is in an fenv_t, and its bits that flush subnormal numbers to zero.
CONTROL, FLUSHES = (28, 0x8040) if X86 else (0, 1 << 24)


@contextmanager
def environment():
    """Put the thread's floating-point environment back at the end; yield it as bytes that may be changed."""
    before = ctypes.create_string_buffer(64)
    LIBM.fegetenv(before)
    try:
        yield bytearray(before.raw)
    finally:
        LIBM.fesetenv(before)


@contextmanager
def rounding_up():
    """Have this thread round towards infinity."""
    with environment():
        assert LIBM.fesetround(FE_UPWARD) == 0
        yield


@contextmanager
def flushing():
    """Have this thread flush subnormal numbers to zero."""
    with environment() as changed:
        word = int.from_bytes(changed[CONTROL : CONTROL + 4], "little") | FLUSHES
        changed[CONTROL : CONTROL + 4] = word.to_bytes(4, "little")
        LIBM.fesetenv((ctypes.c_char * len(changed)).from_buffer(changed))
        yield


def quotient(a=1.0, b=3.0):
    """Return a third, as this thread rounds it."""
    return a / b


def smallest(a=2.0**-1000, b=2.0**-74):
    """Return the smallest subnormal number, or 0 on a thread that flushes it."""
    return a * b


THIRD = float.fromhex("0x1.5555555555555p-2")  # rounded to nearest, which is down
