"""What a training process keeps on the CPU: the memory that a step gives back, and as many of oneDNN's kernels as fit."""

from __future__ import annotations

import ctypes
import os

__all__ = ["bound_kernels", "keep_freed_memory"]

# glibc's mallopt(3): blocks from this size on are mapped anew each time, and the end of the heap over this size is returned.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LIMIT = 2**31 - 1
KERNELS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
"""What oneDNN itself reads, and torch's layer over it, which keeps them too."""
MOST_KERNELS, FEWEST_KERNELS = 1024, 64
SHORT = 32  # tokens


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


def bound_kernels(mean_tokens: float) -> None:
    """Tells oneDNN, before its first product, how many kernels to keep for batches of rows of so many tokens.

    It makes one for each shape that a product has, with room to work in, and keeps 1,024 (its own default). Of short rows
    these are a tenth of a gigabyte; of rows of 150 tokens, up to 512, they were more than eight, and fewer of them took no
    longer (benchmarks/LOG.md). What the user has set stays.
    """
    kept = MOST_KERNELS * (SHORT / max(mean_tokens, SHORT)) ** 2
    for name in KERNELS:
        os.environ.setdefault(name, str(max(int(kept), FEWEST_KERNELS)))
