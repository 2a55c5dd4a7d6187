from __future__ import annotations

import pytest

from maple.sweep.executors import environment

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, (None, "5000", "64")),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ("ACTIVE", None, "64")),
        (
            {"GOMP_SPINCOUNT": "7", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "9"},
            (None, "7", "9"),
        ),
    ],
)
def test_what_the_user_says_wins(
    own: dict[str, str], expected: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    found = environment()
    assert tuple(found.get(name) for name in NAMES) == expected
    assert "PATH" in found
