"""Seeds are independent, records are honest about the machine."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from maple import provenance


def test_seeds_differ_by_purpose_and_key_and_are_stable() -> None:
    seeds = {
        provenance.derive_seed(0, "order", "0"),
        provenance.derive_seed(0, "order", "1"),
        provenance.derive_seed(0, "init"),
        provenance.derive_seed(1, "order", "0"),
    }
    assert len(seeds) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert provenance.derive_seed(0, "init") == 1591254302


def test_provenance_is_json_without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    text = json.dumps(provenance.provenance())
    assert '"torch"' in text
    assert "hf_secret" not in text


def test_the_laps_of_a_meter_share_their_time_and_not_their_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter([0.0, 5.0, 6.0, 9.0, 9.0])
    monkeypatch.setattr(provenance, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    meter = provenance.Meter()
    block = bytearray(100_000_000)
    first = meter.lap()
    del block
    second = meter.lap()
    assert (first["seconds"], second["seconds"]) == (5.0, 3.0)
    # The kernel counts pages in batches.
    assert second["peak_bytes"] == pytest.approx(first["peak_bytes"], abs=5e6)
    assert isinstance(first["peak_bytes"], int)
    assert first["peak_bytes"] > 90_000_000


def test_a_meter_sees_memory_of_its_own_time_only() -> None:
    block = bytearray(200_000_000)
    del block
    meter = provenance.Meter()
    small = meter.read()["peak_bytes"]
    meter = provenance.Meter()
    block = bytearray(100_000_000)
    large = meter.read()["peak_bytes"]
    del block
    assert isinstance(small, int)
    assert isinstance(large, int)
    assert small < 50_000_000
    assert 90_000_000 < large < 150_000_000
