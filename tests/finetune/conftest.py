"""Makes `tiny_finetune` importable, which a child process imports as well; keeps training fast."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="package")
def fast() -> Iterator[None]:
    """One thread and a small heap to collect.

    Tiny tensors gain nothing from threads, which on busy cores wait for each other. Accelerate
    collects garbage at each start: 0.4 s over the objects of all imported modules.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)
