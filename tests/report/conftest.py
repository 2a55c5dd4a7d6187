"""One built report that the tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from maple.report import build
from report.fake_store import Fake, filled


@pytest.fixture(scope="session")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    return filled(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def report(fake: Fake) -> Path:
    return build(fake.store).parent


@pytest.fixture(scope="session")
def page(report: Path) -> str:
    return (report / "index.html").read_text(encoding="utf-8")
