"""Memory that a training step gives back stays with the process, for the next step."""

from __future__ import annotations

import ctypes

__all__ = ["keep_freed_memory"]

# glibc's mallopt(3): blocks from this size on are mapped anew each time, and the end of the heap over this size is returned.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LIMIT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tells the C library to keep freed memory; True where it listens.

    A step frees and takes the same tens of megabytes of gradients and activations. Where each time they are returned to
    the system and mapped again, clearing the pages takes a tenth of a step on the CPU (benchmarks/LOG.md).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no glibc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LIMIT // 2)) and bool(mallopt(M_TRIM_THRESHOLD, LIMIT))
