"""What becomes of the CPU's memory that is freed: it is kept for the next step, or goes back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from autopart.cgroups import memory_limit

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LEAST_BYTES, MOST_BYTES = 2**20, 2**25  # glibc takes no more for blocks that it maps on their own
TRIM_BYTES, NEVER = 2**17, 2**31 - 1


def settle_heap() -> None:
    """Freed memory is kept where there is enough of it, and given back where a control group limits it. Other systems than glibc
    have no such setting.
    """
    if memory_limit() is None:
        keep_freed_memory()
    else:
        return_freed_memory()


def keep_freed_memory() -> None:
    """Blocks of up to 32 MiB come from a heap that does not shrink.

    Left to itself glibc trims it after every step, since buckets of gradients are freed last, and each step takes 2,000 to 7,000
    pages anew: 20 ms of a step of 185 ms of one core, for a ResNet of 2.8 million parameters on four ranks.
    """
    _set(M_MMAP_THRESHOLD, MOST_BYTES)
    _set(M_TRIM_THRESHOLD, NEVER)


def return_freed_memory() -> None:
    """Whatever is large gets memory of its own from now on, and gives it back when it is freed.

    Left to itself glibc keeps freed blocks of up to 32 MiB in a heap, where rows of many sizes that come and go leave gaps: 29
    million parameters (float32, AdamW) on two ranks took 860 MB at level 3, more than without ZeRO, instead of 475; a GPT-2 whose
    tensors take 269 MiB took 758 MiB instead of 489, the framework's 213 among them. The price is that every page is new: a
    quarter more CPU time there. So it is done under ZeRO, and where a control group limits the memory.
    """
    _set(M_MMAP_THRESHOLD, LEAST_BYTES)
    _set(M_TRIM_THRESHOLD, TRIM_BYTES)


def _set(parameter: int, value: int) -> None:
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(parameter, value)
