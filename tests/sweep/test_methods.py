"""Methods through a whole sweep on a tiny real model: trained, stored, evaluated, proved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maple.errors import StudyError
from maple.models.files import resolve
from maple.report.gathered import gather
from maple.report.tables import table_notes
from maple.store import Store
from maple.study.load import validate
from maple.sweep.catalogue import catalogue
from maple.sweep.plan import make
from models import tiny
from sweep.studies import swept


def study(base: Path, **train: Any) -> dict[str, Any]:
    """Few rows, few items."""
    task = {"name": "xcopa", "dataset": "mini", "subsets": ["eng_Latn"], "n_shot": 0}
    return {
        "name": "methods",
        "base": {"models": [str(base)]},
        "train": {
            "sources": ["mini"],
            "languages": ["en"],
            "rows": 4,
            "r": [4],
            "lora_alpha": "2r",
            "batch_size": 4,
            "epochs": 2.0,
            "warmup_ratio": 0.0,
            "max_tokens": 4096,
        }
        | train,
        "evaluate": {"limit": 2, "task": [task], "eval_bits": [4, 16]},
    }


@pytest.mark.full
def test_full_finetuning_and_an_adapter_side_by_side(tmp_path: Path) -> None:
    base = tiny.saved(tmp_path / "base", "gemma3", max_position_embeddings=4096)
    before = resolve(str(base)).identity
    methods = {"lora": 0.01, "full": [0.002, 0.004]}
    content = study(base, methods=list(methods), train_bits=[16], learning_rate=methods)
    outcome, plan, store = swept(content, tmp_path / "out")
    assert outcome.failed == {}
    assert resolve(str(base)).identity == before

    trained = {name: cell for name, cell in plan.grid.train.items() if cell.method != "none"}
    assert [cell.method for cell in trained.values()] == ["lora", "full", "full"]
    moved: dict[tuple[str, int], float | None] = {}
    for name, cell in plan.grid.evals.items():
        record = store.eval_record(name, cell)
        assert record is not None
        assert record.proof is not None
        assert record.proof.linear_bits == cell.eval_bits
        moved[cell.train_id, cell.eval_bits] = record.proof.probe_max_abs_diff
    for name in trained:
        for bits in (4, 16):
            difference = moved[name, bits]
            assert difference is not None
            assert difference > 0.01
    full = next(name for name, cell in trained.items() if cell.method == "full")
    record = store.train_record(full)
    assert record is not None
    assert record.outcome is not None
    folder = store.train_folder(full)
    assert record.outcome.adapter_bytes == (folder / "model.safetensors").stat().st_size
    assert not (folder / "checkpoints").exists()

    gathered = gather(store)
    (shown,) = (table for table in gathered.tables if table.primary)
    assert [line.label for line in shown.lines if line.eval_bits == 16] == [
        "untuned, 16 bits",
        "LoRA r=4, 16 bits, mini, seed 0",
        "full finetuning (learning rate 0.002), 16 bits, mini, seed 0",
        "full finetuning (learning rate 0.004), 16 bits, mini, seed 0",
    ]
    assert table_notes(gathered, shown).protocol[-1] == (
        "trained: LoRA, lora_alpha = 2r, learning rate 0.01; "
        "full finetuning, learning rate 0.002; full finetuning, learning rate 0.004"
    )


def test_a_plan_says_all_that_cannot_be_trained(tmp_path: Path) -> None:
    base = tiny.saved(tmp_path / "base")
    bits = {"olora": [16], "full": [16]}
    content = study(base, methods=list(bits), r=[16, 17], train_bits=bits)
    known = catalogue()
    with pytest.raises(StudyError, match=r"train\.r: olora take.* has only 16; got r = 17"):
        make(validate(content, known, "test"), None, None, Store(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
