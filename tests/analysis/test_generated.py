"""Generated studies: the layout is a store's, and what was planted is in the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from generated_store import generate
from maple.languages import LANGUAGES
from maple.records import EvalCell, TrainCell
from maple.report.gathered import gather
from maple.store import PlanFile, Store
from planted import SHARES, Effects, Luck, scores
from report.fake_store import COST

ITEMS = 30


def small(root: Path, seed: int = 0) -> Store:
    return generate(
        root,
        bases=("base-a",),
        sources={"mini": ("deu_Latn", "hin_Deva")},
        ranks=(8,),
        bits=(4, 16),
        tasks=("xcopa", "mlqa"),
        languages=("eng_Latn", "hin_Deva"),
        items=ITEMS,
        seed=seed,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return small(tmp_path_factory.mktemp("generated"))


@pytest.fixture(scope="module")
def plan(store: Store) -> PlanFile:
    found = store.plan()
    assert found is not None
    return found


def test_the_files_are_those_that_a_store_writes(
    store: Store, plan: PlanFile, tmp_path: Path
) -> None:
    again = Store(tmp_path)
    again.put_plan(plan, (store.root / "study.toml").read_bytes())
    for record in store.records():
        again.put_record(record)
    for train_id in plan.train:
        log = store.train_folder(train_id) / "log.jsonl"
        if log.exists():
            (again.train_folder(train_id) / "log.jsonl").write_bytes(log.read_bytes())
    for eval_id, cell in plan.evals.items():
        items = store.items(cell.task, cell.subset, cell.items)
        again.put_items(cell.task, cell.subset, cell.items, items)
        tokenizer = plan.train[cell.train_id].tokenizer
        sizes = store.prompt_sizes(cell, tokenizer)
        assert sizes is not None
        again.put_prompt_sizes(cell, tokenizer, sizes.to_pylist())
        again.put_part(eval_id, cell, 0, store.finished(eval_id, cell).to_pylist(), COST)
        again.join_parts(eval_id, cell, [item.example_id for item in items])
        again.drop_parts(eval_id, cell)
    for score_id, score in plan.scores.items():
        content = again.content(score.eval_id, plan.evals[score.eval_id])
        table = store.scores(score_id, score)
        assert table is not None
        ids, values = table["example_id"].to_pylist(), table["score"].to_pylist()
        again.put_scores(score_id, score, ids, values, content)
    again.write_index()
    assert _files(again.root) == _files(store.root)


def test_the_same_seed_gives_the_same_files(store: Store, tmp_path: Path) -> None:
    assert _files(small(tmp_path / "same").root) == _files(store.root)
    other = _files(small(tmp_path / "other", seed=1).root)
    assert other.keys() == _files(store.root).keys()
    assert other != _files(store.root)


def test_a_report_reads_it(store: Store, plan: PlanFile) -> None:
    found = gather(store)
    # The base and one adapter at two precisions, two tasks, two languages.
    assert len(found.results.cells) == len(plan.evals) == 2 * 2 * 2 * 2
    assert set(found.cells["status"]) == {"done"}
    assert {result.score.n for result in found.results.cells.values()} == {ITEMS}
    assert found.training.height == 2
    assert found.prompts.height == 4
    right = {
        name: round(result.score.value * ITEMS)
        for (name, _), result in found.results.cells.items()
        if plan.evals[name].task == "xcopa"
    }
    assert min(right.values()) > 0
    assert max(right.values()) < ITEMS


def test_translations_share_ids_and_passages_are_shared(store: Store, plan: PlanFile) -> None:
    items = {
        (cell.task, cell.subset): store.items(cell.task, cell.subset, cell.items)
        for cell in _distinct(plan)
    }
    english, hindi = items["mlqa", "eng_Latn"], items["mlqa", "hin_Deva"]
    assert [item.example_id for item in english] == [item.example_id for item in hindi]
    assert not {item.cluster_id for item in english} & {item.cluster_id for item in hindi}
    assert ITEMS / 4 < len({item.cluster_id for item in english}) < ITEMS
    assert len({item.cluster_id for item in items["xcopa", "hin_Deva"]}) == ITEMS


@pytest.mark.parametrize("most", [None, 1.0, 0.5], ids=["choices", "f1", "rouge"])
def test_the_expected_score_is_the_level(most: float | None) -> None:
    n, generator = 100_000, np.random.default_rng(0)
    levels = np.array([0.2, 0.23, 0.3])
    luck = Luck(generator.standard_normal(n), generator.standard_normal(n))
    found = scores(levels, [0, 0, 1], luck, generator, most)
    assert found.shape == (3, n)
    assert found.min() == 0.0
    assert found.max() == (most or 1.0)
    assert np.abs(found.mean(axis=1) - levels).max() < 4 * 0.5 / n**0.5
    delta = found[1] - found[0]
    assert abs(delta.mean() - 0.03) < 4 * delta.std() / n**0.5
    # Cells agree on items, those of one base more than others.
    same, other = np.corrcoef(found)[0, 1:]
    assert 0.3 < other < same < 1 - SHARES["chance"]


def test_levels_that_would_have_to_be_clipped_are_refused() -> None:
    generator = np.random.default_rng(0)
    luck = Luck(np.zeros(9), np.zeros(9))
    with pytest.raises(ValueError, match=r"got 0.500 to 0.700, .* below 0.667: the effects"):
        scores(np.array([0.5, 0.7]), [0, 0], luck, generator, 1.0)


def test_what_is_planted_for_an_adapter() -> None:
    effects = Effects(
        english=-2.0,
        trained=4.0,
        untrained=1.0,
        same_family=0.5,
        same_script=0.25,
        rank_low=1.0,
        rank_high=-0.5,
        bits_low=0.125,
        sources={"a": 0.0625},
    )
    ranks, bits = (8, 16, 32), (4, 16)
    cell = TrainCell("b", "", "", "lora", "a", ("deu_Latn", "hin_Deva"), r=32, train_bits=16)
    found = {
        key: effects.delta(cell, key, ranks, bits)
        for key in ("eng_Latn", "deu_Latn", "fra_Latn", "swh_Latn", "kat_Geor", "ben_Beng")
    }
    assert LANGUAGES["swh_Latn"].resource_class == 2
    assert found == {
        "eng_Latn": -2.0 + 0.0625 - 0.5,
        "deu_Latn": 4.0 + 0.0625 - 0.5,
        "fra_Latn": 1.0 + 0.5 + 0.25 + 0.0625 - 0.5,
        "swh_Latn": 1.0 + 0.25 + 0.0625 + 1.0 + 0.125,
        "kat_Geor": 1.0 + 0.0625 + 1.0 + 0.125,
        "ben_Beng": 1.0 + 0.5 + 0.0625 + 1.0 + 0.125,
    }
    assert effects.delta(TrainCell("b", "", "", "none"), "deu_Latn", ranks, bits) == 0.0


def _distinct(plan: PlanFile) -> list[EvalCell]:
    return list({(cell.task, cell.subset): cell for cell in plan.evals.values()}.values())


def _files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
