"""Many files at once, and records that are read once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from maple.errors import StoreError
from maple.records import ScoreCell
from maple.store import Snapshot, Store, files, schemas
from maple.store.stacked import read_stacked
from report.fake_store import filled


def written(folder: Path, name: str, ids: list[str]) -> Path:
    path = folder / name
    files.write_table(path, pa.table([ids, [0.5] * len(ids)], schema=schemas.SCORES))
    return path


def test_rows_of_many_files_in_the_order_of_the_paths(tmp_path: Path) -> None:
    # Names that a pattern or a partition would take to mean something.
    names = [("[b]=1*.parquet", ["x", "y"]), ("none.parquet", []), ("a?.parquet", ["z"])]
    paths = [written(tmp_path, name, ids) for name, ids in names]
    found = read_stacked(paths, schemas.SCORES, ["score", "example_id"])
    assert found.paths == tuple(paths)
    assert found.rows.tolist() == [2, 0, 1]
    assert found.files.tolist() == [0, 0, 2]
    assert found.positions.tolist() == [0, 1, 0]
    assert found.table.to_dict(as_series=False) == {
        "score": [0.5, 0.5, 0.5],
        "example_id": ["x", "y", "z"],
    }


def test_no_files_are_no_rows() -> None:
    found = read_stacked([], schemas.CHOICE_RESPONSES, ["example_id", "logprobs"])
    assert found.table.schema == {"example_id": pl.String, "logprobs": pl.List(pl.Float64)}
    assert found.files.tolist() == found.rows.tolist() == []


def test_columns_that_were_added_since_do_not_matter(tmp_path: Path) -> None:
    paths = [tmp_path / "old.parquet", tmp_path / "new.parquet"]
    row = {"example_id": "x", "logprobs": [-1.0, -2.5]}
    table = pa.Table.from_pylist([row], schema=schemas.CHOICE_RESPONSES)
    files.write_table(paths[0], table.drop_columns(["greedy", "neutral_logprobs"]))
    files.write_table(paths[1], table)
    found = read_stacked(paths, schemas.CHOICE_RESPONSES, ["logprobs"])
    assert found.rows.tolist() == [1, 1]
    assert found.table["logprobs"].to_list() == [[-1.0, -2.5]] * 2


@pytest.mark.parametrize("fault", ["missing", "unreadable", "other columns"])
def test_the_file_at_fault_is_named(tmp_path: Path, fault: str) -> None:
    paths = [written(tmp_path, name, ["x"]) for name in ("a", "b", "c")]
    if fault == "missing":
        paths[1].unlink()
    elif fault == "unreadable":
        paths[1].write_bytes(b"PAR1")
    else:
        files.write_table(paths[1], pa.table({"example_id": ["x"], "cluster_id": ["p"]}))
    with pytest.raises(StoreError) as raised:
        read_stacked(paths, schemas.SCORES, schemas.SCORES.names)
    assert str(paths[1]) in str(raised.value)


def test_a_snapshot_stays_as_it_was(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    snapshot, cells = Snapshot(tmp_path), fake.plan.evals
    score_id, score = next(iter(fake.plan.scores.items()))
    train_id = next(name for name, cell in fake.plan.train.items() if cell.method != "none")

    def states(store: Store) -> list[str | None]:
        records = [
            store.train_record(train_id),
            *(store.eval_record(name, cells[name]) for name in (fake.failed, fake.pending)),
            store.score_record(score_id, score),
        ]
        return [record.status if record is not None else None for record in records]

    assert states(snapshot) == states(fake.store) == ["done", "failed", None, None]
    (fake.store.train_folder(train_id) / "record.json").unlink()
    fake.store.eval_path(fake.failed, cells[fake.failed]).with_suffix(".json").unlink()
    assert states(fake.store) == [None] * 4
    assert states(snapshot) == ["done", "failed", None, None]


def test_stacked_scores_leave_out_what_was_not_scored(tmp_path: Path) -> None:
    fake = filled(tmp_path)
    names = [fake.pending, fake.cell("xcopa", "eng_Latn", 8, 4)]
    cells: dict[str, ScoreCell] = {
        name: cell
        for name, cell in fake.plan.scores.items()
        if cell.eval_id in names and cell.metric == "acc"
    }
    scored, found = fake.store.stacked_scores(cells)
    assert [cells[name].eval_id for name in scored] == names[1:]
    assert found.rows.tolist() == [40]
    ids, responses = fake.store.stacked_responses(
        {name: fake.plan.evals[name] for name in names}, ["example_id"]
    )
    assert ids == names[1:]
    assert responses.table.columns == ["example_id"]
