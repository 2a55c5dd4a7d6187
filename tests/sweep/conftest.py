"""What the tests of `maple.tasks` share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_data() -> Path:
    """The folder of real release files."""
    folder = os.environ.get("MAPLE_TEST_DATA")
    if not folder:
        pytest.skip("MAPLE_TEST_DATA is not set: no real release files")
    return Path(folder)
