"""What `maple plan` says where models and data are out of reach, and what it costs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from maple.data import hub as data_hub
from maple.errors import MapleError, ModelOutOfReachError, StudyError
from maple.models import hub as model_hub
from maple.store import Store
from maple.study.load import load, validate
from maple.sweep import check
from maple.sweep.catalogue import catalogue
from maple.sweep.costview import views
from maple.sweep.outlook import outlook
from maple.sweep.plan import make
from models import tiny
from sweep.studies import content

PAPER = Path(__file__).parents[2] / "studies" / "paper.toml"
LLAMA, MISTRAL = "meta-llama/Llama-2-7b-hf", "mistralai/Mistral-7B-v0.1"


def disconnected(patch: pytest.MonkeyPatch) -> list[str]:
    """Takes the network away; what the hub is asked for is collected."""
    asked: list[str] = []

    def lost(name: str) -> Any:
        asked.append(name)
        raise ConnectionError

    patch.setattr(model_hub.constants, "HF_HUB_OFFLINE", False)
    patch.setattr(model_hub.HfApi, "model_info", lambda _self, name, **_: lost(name))
    patch.setattr(data_hub, "_api", lambda: lost("data"))
    return asked


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine without a network; what the hub was asked for."""
    return disconnected(monkeypatch)


@dataclass(frozen=True)
class Planned:
    found: dict[str, Any]
    asked: list[str]
    seconds: float
    written: bool


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """The paper's study, planned on a machine without a network."""
    out = tmp_path_factory.mktemp("paper") / "out"
    with pytest.MonkeyPatch.context() as patch:
        asked = disconnected(patch)
        began = time.process_time()
        found = outlook(load(PAPER, catalogue()), None, None, Store(out))
        return Planned(found, asked, time.process_time() - began, out.exists())


def of(changes: dict[str, Any], folder: Path, **keys: Any) -> dict[str, Any]:
    study = content(**keys)
    for section, values in changes.items():
        study[section] = {**study[section], **values}
    return outlook(validate(study, catalogue(), "test"), None, None, Store(folder / "out"))


def test_the_paper_is_planned_without_models_data_and_network(paper: Planned) -> None:
    found = paper.found
    assert paper.seconds < 5
    assert found["total"].startswith("90 adapters, 6 baselines, ")
    grid = found["cost"]["grid"]
    assert (grid["adapters"], grid["baselines"]) == (90, 6)
    # 15 + 12 + 39 + 7 + 12 + 22 subsets, asked of 96
    assert grid["eval cells"] == 107 * 96
    items = {row["task"]: row["items"] for row in found["cost"]["tasks"]}
    assert items["xnli"] == 15 * 5010
    assert items["belebele"] == 39 * 900
    assert items["mlqa"] == 5335 + 4517 + 11590 + 5254 + 4918 + 5495 + 5137
    assert found["train"] is None
    # Each base is asked for; of the data only the first, which loses the connection.
    assert paper.asked == [LLAMA, MISTRAL, "data"]
    assert not paper.written


def test_the_paper_says_what_was_not_checked(paper: Planned) -> None:
    *lines, rest = paper.found["unchecked"]
    assert lines[0].startswith(f"base model {LLAMA!r}: ")
    assert [line.split()[2] for line in lines[2:]] == [
        "DAMO-NLP-MT/multialpaca",
        "MBZUAI/Bactrian-X",
        "facebook/xnli",
        "aps/super_glue",
        "cambridgeltl/xcopa",
        "facebook/belebele",
        "facebook/mlqa",
        "google/xquad",
        "csebuetnlp/xlsum",
    ]
    assert "`maple run` checks all of it" in rest


def test_the_paper_trains_on_the_languages_of_each_source(paper: Planned) -> None:
    rows: dict[str, dict[str, int]] = {}
    for row in paper.found["cost"]["rows"]:
        rows.setdefault(row["source"], {})[row["language"]] = row["rows"]
    assert {name: len(found) for name, found in rows.items()} == {
        "multialpaca": 11,
        "bactrian-x-11": 11,
        "bactrian-x-22": 22,
    }
    assert sum(rows["multialpaca"].values()) == 132_701
    assert rows["multialpaca"]["deu_Latn"] == 9515
    assert set(rows["bactrian-x-22"].values()) == {132_701 // 22}


def test_the_papers_numbers_follow_from_its_settings(paper: Planned) -> None:
    cost = paper.found["cost"]
    tokens = {(row["base"], row["source"]): row for row in cost["tokens"]}
    once = tokens[LLAMA, "multialpaca"]
    assert once["how"] == "estimated"
    assert once["tokens"] == pytest.approx(4 * once["tokens an epoch"], abs=4)
    sources = [tokens[LLAMA, name]["tokens"] for name in ("multialpaca", *_BACTRIAN)]
    training = {
        (row["base"], row["bits"]): row for row in cost["compute"] if row["work"] == "training"
    }
    assert training[LLAMA, 4]["tokens"] == pytest.approx(5 * sum(sources), rel=1e-6)
    assert training[LLAMA, 4]["operations"] == training[LLAMA, 16]["operations"]
    assert cost["compute"][-1]["cells"] == 90 + 107 * 96
    # 3 sources x 3 precisions x (8 + 16 + 32 + 64 + 128) x parameters a rank x 4 bytes
    assert cost["disk"]["adapters"] == 9 * 248 * (2_498_560 + 2_621_440) * 4
    memory = {(row["base"], row["bits"], row["r"]): row for row in cost["memory"]}
    assert len(memory) == 30
    assert memory[LLAMA, 4, 64]["trainable"] == 64 * 2_498_560
    assert memory[MISTRAL, 16, 128]["cards"][0]["rows"] == 0
    assert memory[MISTRAL, 16, 128]["cards"][0]["rows checkpointed"] > 0
    assert cost["left out"] == []


_BACTRIAN = ("bactrian-x-11", "bactrian-x-22")


def test_the_paper_is_shown_in_tables(paper: Planned) -> None:
    shown = list(views(paper.found["cost"], shape=True))
    assert all(len(row) == len(view.columns) for view in shown for row in view.rows)
    detectable = {row[0]: row[1:] for row in shown[0].rows}
    # t quantiles of 0.975 and 0.8 with 499 degrees of freedom, times 20 percent's deviation of
    # 0.447 over the root of 500; 90 adapters at one precision each.
    assert detectable["xcopa"][:4] == ["12", "500", "500", "5.61"]
    assert detectable["xcopa"][5] == "90"
    rows = shown[1]
    assert rows.columns == ["language", "multialpaca", *_BACTRIAN]
    assert rows.rows[1] == ["ben_Beng", "", "", "6,031"]
    assert rows.rows[-1] == ["all", "132,701", "132,693", "132,682"]
    memory = next(view for view in shown if view.title.startswith("memory"))
    verdicts = {row[-3].split(":")[0] for row in memory.rows}
    assert verdicts == {"fits"}


def test_a_run_is_refused_where_a_plan_only_says_so(tmp_path: Path, no_hub: list[str]) -> None:
    with pytest.raises(
        StudyError, match=r"problems:\n  - base.models\[0\]: base model 'meta-llama"
    ):
        make(load(PAPER, catalogue()), None, None, Store(tmp_path))


def test_what_is_at_hand_is_counted_though_a_base_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gated(name: str, *, weights: bool) -> Any:
        assert not weights
        raise ModelOutOfReachError(f"base model {name!r}: access is restricted by its owner")

    monkeypatch.setattr(check.files, "resolve", gated)
    found = of({"base": {"models": [LLAMA]}}, tmp_path)
    assert found["unchecked"][0] == f"base model {LLAMA!r}: access is restricted by its owner"
    cost = found["cost"]
    assert [(row["language"], row["rows"], row["how"]) for row in cost["rows"]] == [
        ("eng_Latn", 24, "as drawn"),
        ("swh_Latn", 24, "as drawn"),
    ]
    assert cost["grid"]["adapters"] == 2
    assert cost["grid"]["answers"] == sum(row["answers"] for row in cost["tasks"]) > 0


def test_a_mistake_stays_one_where_something_is_out_of_reach(
    tmp_path: Path,
    no_hub: list[str],
) -> None:
    with pytest.raises(StudyError) as caught:
        of({"base": {"models": [LLAMA, "nowhere.gguf"]}}, tmp_path)
    assert "2 problems" in str(caught.value)
    assert "no such file or folder" in str(caught.value)


def test_a_module_that_a_well_known_base_does_not_have_is_a_mistake(
    tmp_path: Path,
    no_hub: list[str],
) -> None:
    changes = {
        "base": {"models": [LLAMA]},
        "train": {**content()["train"], "target_modules": ["q_proj", "v_prj"]},
    }
    with pytest.raises(StudyError, match="no module 'v_prj'") as caught:
        of(changes, tmp_path)
    assert caught.value.hint.startswith("did you mean 'v_proj'")


def test_a_base_of_unknown_shape_is_left_out_by_name(tmp_path: Path, no_hub: list[str]) -> None:
    cost = of({"base": {"models": ["org/unknown"]}}, tmp_path)["cost"]
    assert cost["left out"] == [
        "org/unknown: its shape is not known here, so nothing about it is estimated"
    ]
    assert cost["compute"] == cost["memory"] == cost["tokens"] == []
    assert cost["grid"]["adapters"] == 2


def test_a_base_at_hand_is_estimated_by_its_own_files(tmp_path: Path) -> None:
    folder = tiny.saved(tmp_path / "base", max_position_embeddings=4096)
    found = of({"base": {"models": [str(folder)]}}, tmp_path)
    assert found["unchecked"] == []
    assert len(found["train"]) == 2
    (tokens,) = found["cost"]["tokens"]
    assert tokens["how"] == "from 100 rows a language"
    assert tokens["tokens"] == tokens["tokens an epoch"] > 48 * 8
    assert [row["bits"] for row in found["cost"]["memory"]] == [4, 16]


def test_a_limit_limits_the_answers(tmp_path: Path, no_hub: list[str]) -> None:
    study = validate(content(), catalogue(), "test")
    whole = outlook(study, None, None, Store(tmp_path))["cost"]["grid"]["answers"]
    few = outlook(study, None, 3, Store(tmp_path))["cost"]["grid"]["answers"]
    assert (whole, few) == (16 * 6 * 4, 3 * 6 * 4)


def test_errors_keep_that_something_is_out_of_reach() -> None:
    error = ModelOutOfReachError("base model 'm': gated", "log in")
    placed = error.at("base.models[0]")
    assert (placed.what, placed.hint) == ("base.models[0]: base model 'm': gated", "log in")
    assert getattr(placed, "reason", None) == "base model 'm': gated"
    assert type(MapleError("w", "h").at("p")) is MapleError
