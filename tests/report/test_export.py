"""`maple export`: other programs read what it writes, and the values are ours."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard, ModelCardData

from command import maple
from maple.analysis.blocks import blocks
from maple.analysis.cellscores import ItemScores
from maple.errors import StoreError
from maple.records import TrainCell
from maple.report import export_parquet
from maple.report.export import export
from maple.report.export_hf_card import Origins, plain
from maple.report.export_lm_eval import standard_error
from maple.report.gathered import gather
from maple.store import Store, files
from maple.tasks import TASKS
from report import fake_store
from report.fake_store import FORMULA, HOSTILE, Fake, filled, planned, put_training, put_validated

NOTHING_KNOWN = Origins()


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def harness(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm-eval")
    export(fake.store, "lm-eval", folder, NOTHING_KNOWN)
    return folder


def test_results_read_like_those_of_the_harness(fake: Fake, harness: Path) -> None:
    from lm_eval.utils import (
        get_file_datetime,
        get_file_task_name,
        get_results_filenames,
        get_sample_results_filenames,
        make_table,
    )

    paths = [path.as_posix() for path in sorted(harness.rglob("*"))]
    results = get_results_filenames(paths)
    # Four adapters, and the untuned base at two precisions.
    assert len(results) == 6
    samples = get_sample_results_filenames(paths)
    assert {get_file_task_name(Path(path).name) for path in samples} == {
        f"{task}_{key}" for task in ("xcopa", "xquad") for key in fake_store.LANGUAGES
    }
    assert {get_file_datetime(Path(path).name) for path in samples} == {"2025-11-03T09-01-01"}

    name = next(key for key, cell in fake.plan.train.items() if (cell.r, cell.train_bits) == (8, 4))
    content = json.loads(next(Path(p) for p in results if name in p).read_text(encoding="utf-8"))
    table = make_table(content)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    shown = {(row[0], row[4]): row for row in lines if len(row) == 9}
    row = shown["- xcopa_swh_Latn (Swahili)", "acc"]
    # Its writer turns "0.6000" into a number.
    assert row[1:8] == ["1", "none", "2", "acc", "↑", "0.6", "±"]
    assert float(row[8]) == pytest.approx(math.sqrt(0.6 * 0.4 / 39), abs=5e-5)
    assert "|xcopa" in make_table(content, "groups")

    scored = gather(fake.store).results
    for task, subset, metric in (("xcopa", "eng_Latn", "acc"), ("xquad", "swh_Latn", "f1")):
        found = content["results"][f"{task}_{subset}"]
        own = scored.cells[fake.cell(task, subset, 8, 4), metric].score
        assert found[f"{metric},none"] == own.value == pytest.approx(0.6)
        assert content["n-samples"][f"{task}_{subset}"] == {"original": 40, "effective": 40}
    assert content["groups"]["xcopa"]["acc,none"] == pytest.approx(0.6)
    # XCOPA's items stand alone, so theirs is the formula; three languages share the items.
    plain_error = math.sqrt(0.6 * 0.4 / 39)
    for task in ("xcopa_eng_Latn", "xcopa"):
        assert content["results"][task]["acc_stderr,none"] == pytest.approx(plain_error)
    assert content["group_subtasks"]["xquad"] == [
        "xquad_eng_Latn",
        "xquad_arb_Arab",
        "xquad_swh_Latn",
    ]
    assert content["n-shot"]["xcopa_eng_Latn"] == content["n-shot"]["xcopa"] == 2
    assert content["config"]["model_args"] == {
        "pretrained": "tiny",
        "peft": f"train/{name}",
        "eval_bits": 4,
    }
    assert content["date"] == 1762160461
    assert content["git_hash"] == "0ad1d1d"
    assert "not comparable" in content["maple"]["caution"]
    settings = content["configs"]["xquad_eng_Latn"]
    assert settings["output_type"] == "generate_until"
    assert settings["generation_kwargs"] == {"max_gen_toks": 32}
    assert settings["metadata"]["maple"]["prompt"] == "native"


def test_keys_are_those_that_the_harness_writes(harness: Path) -> None:
    from lm_eval.evaluator_utils import EvalAcc
    from lm_eval.loggers.evaluation_tracker import GeneralConfigTracker

    theirs = set(EvalAcc()._to_eval_results()) | {"git_hash", "date", "config", "lm_eval_version"}
    tracker = set(GeneralConfigTracker.__dataclass_fields__)
    # There are no system instruction, chat template and turns of which MAPLE could tell.
    theirs |= {name for name in tracker if name.startswith(("model", "total"))} | {"task_hashes"}
    content = json.loads(next(harness.rglob("results_*.json")).read_text(encoding="utf-8"))
    assert theirs <= set(content)
    assert set(content) - theirs == {"groups", "maple"}


def test_what_failed_is_not_exported(fake: Fake, harness: Path) -> None:
    (path,) = harness.glob(f"{fake.plan.evals[fake.failed].train_id}-4bit/results_*.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["group_subtasks"]["xquad"] == ["xquad_eng_Latn", "xquad_swh_Latn"]
    assert "xquad_arb_Arab" not in content["results"]


def test_samples_hold_each_item(fake: Fake, harness: Path) -> None:
    name = fake.plan.evals[fake.cell("xcopa", "eng_Latn", 8, 4)].train_id

    def read(task: str) -> list[dict[str, object]]:
        (path,) = harness.glob(f"{name}-4bit/samples_{task}_*.jsonl")
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    choices = read("xcopa_eng_Latn")
    assert [row["doc_id"] for row in choices] == list(range(40))
    assert (choices[3]["target"], choices[3]["acc"], choices[3]["acc_norm"]) == ("1", 0.0, 0.0)
    assert choices[3]["filtered_resps"] == [["-3.25", "True"], ["-4.5", "False"]]
    assert choices[3]["resps"] == [[["-3.25", "True"]], [["-4.5", "False"]]]
    assert sum(float(str(row["acc"])) for row in choices) == 24
    texts = read("xquad_eng_Latn")
    assert texts[0]["filtered_resps"] == [FORMULA]
    assert texts[0]["resps"] == [[FORMULA]]
    assert texts[5]["filtered_resps"] == [HOSTILE]
    assert texts[1]["target"] == "['The lid was shut.']"
    assert texts[1]["metrics"] == ["f1", "em"]


def test_settings_of_one_task_have_names_of_their_own(tmp_path: Path) -> None:
    fake = filled(tmp_path / "store")
    evals = {
        name: replace(cell, n_shot=0, exemplar_seed=None) if cell.eval_bits == 16 else cell
        for name, cell in fake.plan.evals.items()
    }
    untuned = next(key for key, cell in fake.plan.train.items() if cell.method == "none")
    # The untuned base is asked in both ways at one precision.
    evals = {
        name: replace(cell, eval_bits=4) if cell.train_id == untuned else cell
        for name, cell in evals.items()
    }
    fake.store.put_plan(fake.plan.model_copy(update={"evals": evals}), b"")
    export(fake.store, "lm-eval", tmp_path / "out", NOTHING_KNOWN)
    (path,) = (tmp_path / "out" / f"{untuned}-4bit").glob("results_*.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert set(content["n-shot"].values()) == {0, 2}
    assert "xcopa_eng_Latn-2-exemplars-exemplar-seed-0" in content["results"]
    assert "xcopa_eng_Latn-0-exemplars-exemplar-seed-None" in content["results"]


def test_standard_errors_know_clusters() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(30)
    ids = tuple(str(number) for number in range(30))
    alone = ItemScores(ids, ids, scores)
    assert standard_error([alone]) == pytest.approx(scores.std(ddof=1) / math.sqrt(30))
    twice = ItemScores(
        tuple(f"{i}{side}" for side in "ab" for i in ids), ids * 2, np.tile(scores, 2)
    )
    # Each item twice in its cluster tells no more than once.
    assert standard_error([twice]) == pytest.approx(scores.std(ddof=1) / math.sqrt(30))
    assert standard_error([alone, alone]) == pytest.approx(scores.std(ddof=1) / math.sqrt(30))
    other = ItemScores(tuple(f"x{i}" for i in ids), tuple(f"x{i}" for i in ids), scores)
    halved = standard_error([alone, other])
    assert halved == pytest.approx(scores.std() / math.sqrt(60) * math.sqrt(60 / 59))
    assert standard_error([ItemScores(ids, ("one",) * 30, scores)]) is None


def test_csv_is_the_report_s(fake: Fake, report: Path, tmp_path: Path) -> None:
    written = export(fake.store, "csv", tmp_path, NOTHING_KNOWN)
    tables = {path.name for path in (report / "tables").glob("*.csv")}
    assert {path.name for path in written} == tables
    for name in tables:
        assert (tmp_path / name).read_bytes() == (report / "tables" / name).read_bytes()
    rows = csv.DictReader(io.StringIO((tmp_path / "failures.csv").read_text(encoding="utf-8")))
    assert next(iter(rows))["failure"] == f"'{FORMULA} {HOSTILE}"


def test_parquet_has_types_and_every_item(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_parquet, "_ROWS_AT_ONCE", 500)
    export(fake.store, "parquet", tmp_path, NOTHING_KNOWN)
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    assert scores.schema["score"] == pl.Float64
    assert scores.schema["train_languages"] == pl.List(pl.String)
    assert scores["score"].drop_nulls().unique().sort().to_list() == [0.5, 0.6]
    assert pl.read_parquet(tmp_path / "failures.parquet")["failure"][0] == f"{FORMULA} {HOSTILE}"

    file = pq.ParquetFile(tmp_path / "item_scores.parquet")
    assert file.schema_arrow == export_parquet.ITEM_SCORES
    groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert sum(groups) == 34 * 2 * 40
    assert max(groups) == 520
    key = ["eval_id", "metric", "example_id"]
    found = pl.read_parquet(tmp_path / "item_scores.parquet").sort(key)
    ours = [
        (eval_id, block.metric, example_id, cluster_id, score)
        for block in blocks(fake.store, fake.plan)
        for eval_id, scores in zip(block.eval_ids, block.scores, strict=True)
        for example_id, cluster_id, score in zip(
            block.example_ids, block.cluster_ids, scores.tolist(), strict=True
        )
    ]
    assert found.rows() == sorted(ours)


@dataclass(frozen=True)
class Study:
    store: Store
    train_id: str
    cell: TrainCell


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Released items, and rows that a hub gave."""
    with pytest.MonkeyPatch.context() as patch:
        metrics = {"xcopa": ("accuracy[sum]",), "xquad": ("f1",)}
        patch.setattr(fake_store, "_METRICS", metrics)
        fake = filled(tmp_path_factory.mktemp("cards"))
    evals = {name: replace(cell, dataset="release") for name, cell in fake.plan.evals.items()}
    train = {
        name: replace(cell, source=cell.source and "multialpaca")
        for name, cell in fake.plan.train.items()
    }
    name, cell = next((key, one) for key, one in train.items() if (one.r, one.train_bits) == (8, 4))
    train[name] = cell = replace(cell, base_name='org/"x" | <b>[y](z)</b>\n---\nlicense: mit')
    locks = {
        "dataset:DAMO-NLP-MT/multialpaca@main": "a" * 40,
        "dataset:cambridgeltl/xcopa@main": "b" * 40,
    }
    update = {"evals": evals, "train": train, "locks": locks}
    fake.store.put_plan(fake.plan.model_copy(update=update), b"")
    put_validated(fake.store, name, cell)
    return Study(fake.store, name, cell)


ORIGINS = Origins(
    {name: TASKS[name].card for name in ("xcopa", "xquad")},  # type: ignore[attr-defined]
    {"multialpaca": "DAMO-NLP-MT/multialpaca", "bactrian-x": "MBZUAI/Bactrian-X"},
)


def test_a_card_is_read_back_by_the_hub_s_library(study: Study, tmp_path: Path) -> None:
    written = export(study.store, "hf-card", tmp_path, ORIGINS)
    assert len(written) == 4
    card = ModelCard.load(tmp_path / study.train_id / "README.md")
    data = card.data
    assert isinstance(data, ModelCardData)
    assert data.base_model == study.cell.base_name
    assert (data.library_name, data.license) == ("peft", None)
    assert data.language == ["de"]
    assert data.datasets == ["DAMO-NLP-MT/multialpaca"]
    assert data.tags == ["maple", "lora"]
    assert data.model_name == "LoRA r=8, 4 bits, multialpaca, seed 0"
    assert data.eval_results is not None
    found = {(one.dataset_name, one.metric_type): one for one in data.eval_results}
    assert len(found) == 6
    one = found["XCOPA (Swahili)", "accuracy"]
    assert (one.task_type, one.dataset_type) == ("multiple-choice", "cambridgeltl/xcopa")
    assert (one.dataset_config, one.dataset_split) == ("sw", "test")
    assert one.dataset_revision == "b" * 40
    assert one.metric_name == "accuracy[sum], 4 bits"
    assert one.metric_value == pytest.approx(0.6)
    english = found["XCOPA (English)", "accuracy"]
    assert (english.dataset_type, english.dataset_revision) == ("aps/super_glue", None)
    question = found["XQuAD (English)", "f1"]
    assert (question.task_type, question.dataset_config) == ("question-answering", "xquad.en")
    # The header is one that the library writes itself.
    assert ModelCardData(**data.to_dict(), ignore_metadata_errors=False).to_yaml()


def test_intervals_and_protocol_are_beside_the_numbers(study: Study, tmp_path: Path) -> None:
    export(study.store, "hf-card", tmp_path, ORIGINS)
    text = (tmp_path / study.train_id / "README.md").read_text(encoding="utf-8")
    assert text.split("\n---\n")[0].count("license") == 1  # inside the base's hostile name
    assert "# LoRA r=8, 4 bits, multialpaca, seed 0 on org/" in text
    assert "12,000 tokens, of which 6,789 were learned" in text
    assert "### xcopa, accuracy\\[sum\\], 4 bits" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| Swahili | 60.0 [")][:1]
    assert row.endswith("| 40 | 40 |")
    assert "| +10.0 [+" in row
    assert "prompt native, 2 exemplars (seed 0)" in text
    assert "the header of this file has the same scores from 0 to 1" in text
    assert "published in 4 bits: no conclusion about bits" in text
    assert "<b>" not in text.split("\n---\n")[-1].split("```")[0].split("## Settings")[0]


def test_nothing_is_claimed_that_is_not_known(fake: Fake, tmp_path: Path) -> None:
    export(fake.store, "hf-card", tmp_path, NOTHING_KNOWN)
    cards = [ModelCard.load(path) for path in sorted(tmp_path.rglob("README.md"))]
    assert len(cards) == 4
    for card in cards:
        assert card.data.get("datasets") is None
        assert card.data.get("license") is None
        assert {one.dataset_type for one in card.data.eval_results} == {"xcopa-mini", "xquad-mini"}
        assert all(one.dataset_revision is None for one in card.data.eval_results)


def test_an_adapter_without_results_has_a_card(tmp_path: Path) -> None:
    store, plan = Store(tmp_path / "store"), planned(evaluate=False)
    store.put_plan(plan, b"")
    name, cell = next(iter(plan.train.items()))
    put_training(store, name, cell)
    (path,) = export(store, "hf-card", None, NOTHING_KNOWN)
    assert path == store.root / "export" / "hf-card" / name / "README.md"
    card = ModelCard.load(path)
    assert card.data.eval_results is None
    assert "## Results" not in card.text
    with pytest.raises(StoreError, match="nothing is finished that a lm-eval export could hold"):
        export(store, "lm-eval", None, NOTHING_KNOWN)


def test_markdown_stays_text() -> None:
    assert plain("a|b\n<img src=x> [c](d) *e* `f`") == (
        "a\\|b &lt;img src=x&gt; \\[c\\](d) \\*e\\* \\`f\\`"
    )


def test_only_an_earlier_export_is_replaced(fake: Fake, tmp_path: Path) -> None:
    first = export(fake.store, "csv", tmp_path, NOTHING_KNOWN)
    made = names(tmp_path)
    assert made == {path.name for path in first} | {"maple-export.json"}
    (tmp_path / "scores.csv").write_text("old", encoding="ascii")
    # Of an export that was killed, and a file of an earlier one that is no more.
    (tmp_path / ".scores.csv.0123456789ab.tmp").touch()
    listed = json.loads((tmp_path / "maple-export.json").read_bytes())
    listed["files"].append("gone.csv")
    (tmp_path / "maple-export.json").write_text(json.dumps(listed), encoding="utf-8")
    (tmp_path / "gone.csv").touch()
    export(fake.store, "csv", tmp_path, NOTHING_KNOWN)
    assert names(tmp_path) == made
    assert (tmp_path / "scores.csv").read_text(encoding="utf-8") != "old"

    with pytest.raises(StoreError, match="holds an export in another format, csv"):
        export(fake.store, "parquet", tmp_path, NOTHING_KNOWN)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(StoreError, match=r"something else than an earlier csv export \(mine.txt\)"):
        export(fake.store, "csv", tmp_path, NOTHING_KNOWN)
    assert names(tmp_path) == {*made, "mine.txt"}
    (tmp_path / "maple-export.json").write_text('{"format": "csv", "files": ["../x"]}', "ascii")
    with pytest.raises(StoreError, match="lists files outside"):
        export(fake.store, "csv", tmp_path, NOTHING_KNOWN)
    (tmp_path / "maple-export.json").write_text("[]", encoding="ascii")
    with pytest.raises(StoreError, match="is not the list of an export"):
        export(fake.store, "csv", tmp_path, NOTHING_KNOWN)


def test_a_folder_inside_a_file_is_called_so(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Not a directory"):
        export(fake.store, "csv", tmp_path / "file" / "x", NOTHING_KNOWN)
    assert names(tmp_path) == {"file"}


def test_an_export_that_is_cut_short_is_replaced(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = files.replace

    def cut(path: Path, *rest: object, **named: object) -> None:
        if path.name == "training.csv":
            raise StoreError(f"{path}: No space left on device")
        whole(path, *rest, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("maple.report.export.replace", cut)
        with pytest.raises(StoreError, match="No space left"):
            export(fake.store, "csv", tmp_path, NOTHING_KNOWN)
    assert "training.csv" not in names(tmp_path)
    export(fake.store, "csv", tmp_path, NOTHING_KNOWN)
    assert "training.csv" in names(tmp_path)


def test_the_command(fake: Fake, tmp_path: Path) -> None:
    out = tmp_path / "x"
    done = maple("export", fake.store.root, "--format", "csv", "--out", out, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == f"17 files: {out}"
    wrong = maple("export", fake.store.root, "--format", "pdf", folder=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--format pdf: there is no such format" in wrong.stderr
    assert "csv, hf-card, lm-eval, parquet" in wrong.stderr
