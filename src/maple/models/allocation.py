"""How the C library hands out memory for tensors on the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from torch import Tensor

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt, from malloc.h."""

_PAGE = 4096
"""Bytes of a page of memory; larger ones exist, smaller ones do not."""

_LARGEST = 32 * 2**20
"""Largest block that glibc lets come from its heap."""

_KEPT = 2**31 - 1
"""Free bytes at the top of the heap that are kept; the largest value that mallopt takes."""


def keep_freed_memory() -> None:
    """Let freed blocks of up to 32 MiB be used again without asking the kernel; glibc only.

    By default each tensor of some size is mapped when it is made and unmapped when it is freed, and
    the kernel clears its pages anew: a norm of 1,024 x 640 values in bfloat16 took 9.8 ms with
    them and 1.0 without. Memory is given back where a cell's peak begins to be measured.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)


def make_resident(tensors: Iterable[Tensor]) -> None:
    """Read a value of every page of tensors on the CPU.

    Weights in a file's own type are mapped, not read: without this the first batches wait for them,
    and they count as memory that those took.
    """
    for tensor in tensors:
        if tensor.device.type == "cpu":
            tensor.detach().flatten()[:: _PAGE // tensor.element_size()].sum()
