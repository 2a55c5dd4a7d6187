"""Gains and their price, by hand."""

from __future__ import annotations

import polars as pl
import pytest

from maple.analysis import frames
from maple.analysis.blocks import blocks
from maple.analysis.gains import front, gains
from maple.analysis.observed import Observed
from maple.analysis.results import results
from maple.records import Cost, EvalCell, TrainCell
from maple.report.gains import gains as grid
from maple.report.gathered import gather
from report.fake_store import Fake, filled


def scorer(cell: TrainCell, asked: EvalCell, item: int) -> float:
    """10 of 40 right; r 8 in 4 bits half of all in addition, r 64 in 16 bits one fewer."""
    more = {(8, 4): 20, (64, 16): -1}.get((cell.r or 0, asked.eval_bits), 0)
    return float(item < 10 + more)


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    fake = filled(tmp_path_factory.mktemp("store"), scorer)
    for name, cell in fake.plan.train.items():
        record = fake.store.train_record(name)
        if record is not None and cell.r == 8:
            known = Cost(100.0, 1.0, 2 * 10**8, 5000.0)
            fake.store.put_record(record.model_copy(update={"cost": known}))
    return fake


@pytest.fixture(scope="module")
def found(fake: Fake) -> pl.DataFrame:
    observed = Observed(fake.plan, results(fake.plan, blocks(fake.store, fake.plan)))
    training, cells = (read(fake.store, fake.plan) for read in (frames.training, frames.cells))
    return gains(observed, training, cells)


def test_a_price_is_paid_for_a_gain(found: pl.DataFrame) -> None:
    rows = {(row["r"], row["eval_bits"]): row for row in found.iter_rows(named=True)}
    # The two others lack a cell each.
    assert set(rows) == {(8, 4), (64, 16)}
    good, bad = rows[8, 4], rows[64, 16]
    assert good["gain"] == pytest.approx(50.0)
    assert 0 < good["low"] < 50 < good["high"]
    assert (good["cells"], good["train_seconds"], good["train_joules"]) == (6, 100.0, 5000.0)
    assert good["seconds_per_point"] == pytest.approx(2.0)
    assert good["peak_bytes_per_point"] == pytest.approx(4e6)
    assert good["adapter_bytes_per_point"] == pytest.approx(123456 / 50)
    assert good["joules_per_point"] == pytest.approx(100.0)
    # 7.5 seconds for 40 items; without a counter of energy.
    assert good["eval_seconds"] == pytest.approx(187.5)
    assert (good["eval_peak_bytes"], good["eval_joules"]) == (10**8, None)
    assert bad["gain"] == pytest.approx(-2.5)
    assert bad["low"] < 0
    assert {bad[name] for name in bad if name.endswith("_per_point")} == {None}


def test_fronts(found: pl.DataFrame) -> None:
    rows = {row["r"]: row for row in found.iter_rows(named=True)}
    # The worse adapter took 60 seconds and half the memory, for as many bytes.
    names = ("front_seconds", "front_memory", "front_size")
    assert [rows[8][name] for name in names] == [True, True, True]
    assert [rows[64][name] for name in names] == [True, True, False]


def test_a_front_is_what_nothing_dominates() -> None:
    assert front([1.0, 2.0, 3.0, 4.0], [0.5, 0.4, 0.6, 0.6]) == [True, False, True, False]
    # Things alike do not dominate each other; what is unknown neither does nor is.
    assert front([1.0, 1.0, None, 0.0], [0.5, 0.5, 9.0, 9.0]) == [True, True, None, None]
    assert front([1.0, 1.0], [0.5, 0.6]) == [False, True]
    assert front([], []) == []


def test_the_page_has_a_row_for_each(fake: Fake) -> None:
    shown = grid(gather(fake.store))
    assert shown is not None
    rows = {row[0]: dict(zip(shown.columns, row, strict=True)) for row in shown.rows}
    good, bad = rows["LoRA r=8, 4 bits, mini, seed 0"], rows["LoRA r=64, 16 bits, mini, seed 0"]
    assert (good["gain, points"], good["training a point"]) == ("+50.0", "2.0 s")
    assert (good["energy, training"], good["energy a point"]) == ("5.0 kJ", "0.1 kJ")
    assert (bad["gain, points"], bad["training a point"]) == ("−2.5", "–")
    assert (good["on the front of"], bad["on the front of"]) == (
        "time, memory, size",
        "time, memory",
    )
    assert "energy, 1,000 answers" not in shown.columns
    assert shown.notes[-1] == "2 rows left out: not finished."
