"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def release_files() -> Path:
    """The folder of real release files, MAPLE_TEST_DATA; tests that need it skip without it."""
    folder = os.environ.get("MAPLE_TEST_DATA")
    if not folder:
        pytest.skip("MAPLE_TEST_DATA is not set: no real release files here")
    return Path(folder)
