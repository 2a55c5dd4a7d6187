"""Tiny models are written and loaded once a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from maple.models.engine import TransformersModel
from maple.models.loading import Loaded
from models import tiny


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny matrices are slower on several threads, far slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    """A float32 base of each family."""
    root = tmp_path_factory.mktemp("families")
    return {family: tiny.loaded(root / family, family) for family in tiny.FAMILIES}


@pytest.fixture(scope="session")
def engines(families: dict[str, Loaded]) -> dict[str, TransformersModel]:
    """An engine on each family."""
    return {family: TransformersModel(base) for family, base in families.items()}
