"""Memory that the C library keeps between steps instead of giving it back."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of malloc.h in glibc


def keep_memory() -> bool:
    """Have glibc keep freed memory for the next step; returns whether it does.

    By default it gives every block of more than a few MB back to the system, which hands it out again page by page,
    cleared: on a CPU that is a tenth of a training step. Elsewhere than on Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, (1 << 31) - 1), (_M_TOP_PAD, 64 << 20))
    return all(mallopt(option, value) == 1 for option, value in options)
