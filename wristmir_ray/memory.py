"""What the C library does with memory that is freed."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # <malloc.h>
_LARGEST = 32 * 2**20
"""Bytes: the most that glibc takes from its heap."""
_KEPT = 256 * 2**20


def keep_freed() -> None:
    """Keep freed memory, up to 256 MiB, for what comes next.

    For a process that looks at one radiograph after the other: by default each one's arrays are new pages, which the
    kernel must find and clear first. Does nothing where the C library is not glibc.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _KEPT)
