"""The paper's questions asked of made-up studies: what was planted is found, and nothing else.

One small study is generated as files and read; all others are its plan, changed, with scores drawn
anew in memory by the rules of `planted`: right or wrong, an untuned base at 50 %.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from generated_store import generate
from maple.analysis.blocks import Block, blocks
from maple.analysis.findings import Finding
from maple.analysis.observed import Observed
from maple.analysis.questions import findings
from maple.analysis.results import results
from maple.records import TrainCell
from maple.store import PlanFile
from planted import Effects, Luck, scores

RANKS, BITS = (8, 32, 128), (4, 16)
LANGUAGES = (
    *("eng_Latn", "deu_Latn", "jpn_Jpan", "arb_Arab", "tur_Latn", "fin_Latn", "ben_Beng"),
    *("ukr_Cyrl", "swh_Latn", "amh_Ethi", "zul_Latn", "khm_Khmr", "yor_Latn"),
)
"""Thirteen: English, five others of classes 4 and 5, seven of 0 to 3."""

_FEW = ("deu_Latn", "jpn_Jpan")
SOURCES = {"one": _FEW, "two": _FEW, "more": (*_FEW, "arb_Arab", "spa_Latn")}

NONE = Effects(adapter_sd=0.3, language_sd=0.3)
PLANTED = dataclasses.replace(
    NONE,
    english=-12.0,
    trained=5.0,
    untrained=4.0,
    rank_low=2.0,
    bits_low=3.0,
    sources={"more": 6.0},
)
DIRECTIONAL = ("H1", "H2", "H3", "H4", "H5", "H8")

Answers = dict[str, Finding]


@dataclass(frozen=True)
class Study:
    """A plan and its scores."""

    plan: PlanFile
    blocks: tuple[Block, ...]

    def drawn(self, effects: Effects, seed: int, items: int | None = None) -> Study:
        """The same cells with other scores."""
        luck = np.random.default_rng([seed, 1]).standard_normal(len(self.plan.train))
        own = {
            name: effects.adapter_sd * float(number)
            for name, number in zip(self.plan.train, luck, strict=True)
        }

        def level(train_id: str, key: str) -> float:
            cell = self.plan.train[train_id]
            if cell.method == "none":
                return 0.5
            return 0.5 + (effects.delta(cell, key, RANKS, BITS) + own[train_id]) / 100

        return self.at(level, seed, effects.language_sd, items)

    def at(
        self,
        level: Callable[[str, str], float],
        seed: int,
        deviation: float = 0.0,
        items: int | None = None,
    ) -> Study:
        """The same cells at levels by train id and language, 0 to 1; `deviation` in points."""
        found = []
        for place, block in enumerate(self.blocks):
            cut = _cut(block, items or len(block.example_ids))
            shared = np.random.default_rng([seed, 2, *cut.task.encode()])
            names = {name: at for at, name in enumerate(dict.fromkeys(cut.cluster_ids))}
            size = len(cut.example_ids)
            passages = shared.standard_normal(size)[[names[name] for name in cut.cluster_ids]]
            luck = Luck(shared.standard_normal(size), passages)
            own = np.random.default_rng([seed, 3, place])
            key = self.plan.languages[f"{cut.task}/{cut.subset}"]
            levels = np.array([level(self.plan.evals[one].train_id, key) for one in cut.eval_ids])
            tuned = np.array([self._cell(one).method != "none" for one in cut.eval_ids])
            levels += tuned * deviation / 100 * own.standard_normal(len(levels))
            values = scores(levels, [0] * len(levels), luck, own, None)
            found.append(dataclasses.replace(cut, scores=values))
        return dataclasses.replace(self, blocks=tuple(found))

    def only(self, wanted: Callable[[TrainCell], bool]) -> Study:
        """The study that has some of the adapters, and the untuned base."""

        def kept(train_id: str) -> bool:
            cell = self.plan.train[train_id]
            return cell.method == "none" or wanted(cell)

        evals = {name: one for name, one in self.plan.evals.items() if kept(one.train_id)}
        plan = self.plan.model_copy(
            update={
                "train": {name: one for name, one in self.plan.train.items() if kept(name)},
                "evals": evals,
                "scores": {k: one for k, one in self.plan.scores.items() if one.eval_id in evals},
            }
        )
        return Study(plan, self.without(lambda name, _: name not in evals).blocks)

    def without(self, missing: Callable[[str, Block], bool]) -> Study:
        """The same plan, some eval cells of which are not finished."""
        found = []
        for block in self.blocks:
            rows = [row for row, name in enumerate(block.eval_ids) if not missing(name, block)]
            if rows:
                names = tuple(block.eval_ids[row] for row in rows)
                found.append(
                    dataclasses.replace(
                        block,
                        eval_ids=names,
                        scores=block.scores[rows],
                        answered=block.answered[rows],
                    )
                )
        return dataclasses.replace(self, blocks=tuple(found))

    def with_cells(self, changed: Callable[[TrainCell], TrainCell]) -> Study:
        cells = {name: changed(cell) for name, cell in self.plan.train.items()}
        return dataclasses.replace(self, plan=self.plan.model_copy(update={"train": cells}))

    def observed(self, resamples: int = 400) -> Observed:
        return Observed(self.plan, results(self.plan, self.blocks, resamples))

    def answers(self, resamples: int = 400) -> Answers:
        found = findings(self.observed(resamples))
        check_wording(found)
        return {one.key: one for one in found}

    def _cell(self, eval_id: str) -> TrainCell:
        return self.plan.train[self.plan.evals[eval_id].train_id]


def _cut(block: Block, items: int) -> Block:
    return dataclasses.replace(
        block,
        example_ids=block.example_ids[:items],
        cluster_ids=block.cluster_ids[:items],
        n_choices=block.n_choices[:items],
        scores=block.scores[:, :items],
        answered=np.minimum(block.answered, items),
    )


def check_wording(found: Sequence[Finding]) -> None:
    """No sentence says "1 points" or "p = 0", no number is missing without a word about it."""
    for one in found:
        text = " ".join((one.claim, one.reason, one.note, *(part.label for part in one.parts)))
        assert not re.search(r"\b1 (points|adapters|languages|cells|contrasts|items)\b", text), text
        assert not re.search(r"\bp = 0\b(?!\.\d*[1-9])|\bnan\b|\binf\b|None", text), text
        numbers = [one.effect, one.low, one.high]
        numbers += [x for part in one.parts for x in (part.value, part.low, part.high, part.p)]
        assert np.isfinite([number for number in numbers if number is not None]).all(), one.key
        assert (one.effect is None) == (one.low is None) == (one.high is None)
        assert one.verdict == "undecided" or not one.reason.startswith("Not decided")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    store = generate(
        tmp_path_factory.mktemp("study"),
        bases=("base-a",),
        sources=SOURCES,
        ranks=RANKS,
        bits=BITS,
        tasks=("xcopa", "belebele"),
        languages=LANGUAGES,
        items=120,
    )
    plan = store.plan()
    assert plan is not None
    return Study(plan, blocks(store, plan))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two tasks with written answers, four languages, eight adapters."""
    store = generate(
        tmp_path_factory.mktemp("small"),
        bases=("base-a",),
        sources={"one": _FEW, "two": _FEW},
        ranks=(8, 32),
        bits=(16,),
        seeds=(0, 1),
        tasks=("mlqa", "xquad"),
        languages=("eng_Latn", "deu_Latn", "arb_Arab", "hin_Deva"),
        items=80,
    )
    plan = store.plan()
    assert plan is not None
    return Study(plan, blocks(store, plan))


@pytest.fixture(scope="module")
def planted(study: Study) -> Answers:
    return study.drawn(PLANTED, 0).answers()


@pytest.fixture(scope="module")
def null(study: Study) -> Answers:
    return study.drawn(NONE, 1).answers()


def holds(finding: Finding, truth: float) -> bool:
    assert finding.low is not None
    assert finding.high is not None
    return finding.low <= truth <= finding.high


@pytest.mark.parametrize(("key", "truth"), [("H1", 2.0), ("H2", 3.0)])
def test_planted_slopes_are_found(planted: Answers, key: str, truth: float) -> None:
    found = planted[key]
    assert found.verdict == "supported"
    assert holds(found, truth)
    assert found.unit == "points a doubling"
    of_group = {part.label.split(", ")[1]: part for part in found.parts}
    assert of_group.keys() == {"low", "high"}
    # Nothing was planted in languages with many resources.
    high = of_group["high"]
    assert high.low is not None
    assert high.high is not None
    assert high.low <= 0 <= high.high


def test_planted_differences_are_found(planted: Answers) -> None:
    # A third of the adapters was trained on "more", which gives 6 points everywhere.
    assert planted["H4"].verdict == "supported"
    assert holds(planted["H4"], -12.0 + 6.0 / 3)
    assert planted["H8"].verdict == "supported"
    assert holds(planted["H8"], 4.0 + 6.0 / 3)
    inside = next(part for part in planted["H8"].parts if part.label == "trained on")
    assert inside.low is not None
    assert inside.high is not None
    assert inside.low <= 5.0 + 6.0 / 3 <= inside.high


def test_training_sets_that_differ_contradict_that_they_are_alike(planted: Answers) -> None:
    assert planted["H6"].verdict == "contradicted"
    assert "more" in planted["H6"].note
    assert planted["H7"].verdict == "contradicted"
    # Against each of the two smaller sets.
    assert len(planted["H7"].parts) == 2
    for part in planted["H7"].parts:
        assert part.low is not None
        assert part.high is not None
        assert part.low <= 6.0 <= part.high


def test_a_larger_set_that_does_harm_brings_nothing(study: Study) -> None:
    found = study.drawn(dataclasses.replace(NONE, sources={"more": -6.0}), 0).answers()
    assert found["H6"].verdict == "contradicted"
    assert found["H7"].verdict == "supported"
    assert holds(found["H7"], -6.0)


def with_another_base(study: Study) -> Study:
    """Adapters of rank 32 have another base, without an untuned one; "two" has its own rank 8."""

    def changed(cell: TrainCell) -> TrainCell:
        return dataclasses.replace(cell, base_name="base-b", r=8) if cell.r == 32 else cell

    return study.with_cells(changed)


@pytest.mark.parametrize(
    ("base", "data", "verdict"),
    [(0.2, 0.0, "supported"), (0.0, 0.2, "contradicted"), (0.1, 0.1, "undecided")],
)
def test_what_is_further_apart_bases_or_training_sets(
    study: Study, base: float, data: float, verdict: str
) -> None:
    changed = with_another_base(study)

    def level(train_id: str, _key: str) -> float:
        cell = changed.plan.train[train_id]
        # Two of three pairs of training sets are `data` * 1.5 apart, so `data` in the mean.
        return 0.4 + base * (cell.base_name == "base-b") + 1.5 * data * (cell.source == "more")

    found = changed.at(level, 0, 0.5).answers()["H9"]
    assert found.verdict == verdict
    assert holds(found, 100 * (base - data))


def test_bits_that_matter_are_not_equivalent(planted: Answers) -> None:
    # 3 points a doubling in 7 languages of 13.
    assert planted["4 bits"].verdict == "contradicted"
    assert holds(planted["4 bits"], -6.0 * 7 / 13)


def test_where_nothing_was_planted_no_effect_is_found(null: Answers) -> None:
    assert {key for key in DIRECTIONAL if null[key].verdict == "supported"} == set()
    assert {null[key].verdict for key in ("families", "plateau")} == {"undecided"}
    assert null["transfer"].verdict != "supported"
    assert {null[key].verdict for key in ("H6", "H7", "4 bits")} <= {"supported", "undecided"}
    assert holds(null["H1"], 0.0)
    assert holds(null["H2"], 0.0)


def test_without_any_effect_bits_are_equivalent(study: Study) -> None:
    found = study.at(lambda _train, _key: 0.95, 5).answers()["4 bits"]
    assert found.verdict == "supported"
    assert holds(found, 0.0)


def test_what_the_study_lacks_is_said(planted: Answers) -> None:
    lacking = {key: planted[key] for key in ("H9", "H10", "H11")}
    assert {one.verdict for one in lacking.values()} == {"undecided"}
    assert all(one.effect is None for one in lacking.values())
    assert "two base models" in lacking["H9"].reason
    assert "no base of the study is Mistral-7B" in lacking["H10"].reason
    assert "no LoRA adapter beside a full fine-tuning" in lacking["H11"].reason


def test_a_base_that_was_published_quantised_says_nothing_about_bits(study: Study) -> None:
    base = dataclasses.replace(study.plan.bases[0], source_precision=4)
    plan = study.plan.model_copy(update={"bases": (base,)})
    found = dataclasses.replace(study.drawn(PLANTED, 0), plan=plan).answers()
    for key in ("H2", "H3", "4 bits"):
        assert found[key].verdict == "undecided"
        assert "base-a was published quantised" in found[key].reason
    # Of the rank it does.
    assert found["H1"].verdict == "supported"
    assert [part.label for part in found["H3"].parts] == ["rank, English"]


def test_one_rank_tells_nothing_of_the_rank(study: Study) -> None:
    found = study.drawn(PLANTED, 0).only(lambda cell: cell.r == 8).answers()
    assert found["H1"].verdict == "undecided"
    assert found["H1"].reason == "Not decided: the study has one rank."
    assert found["H3"].reason == "Not decided: the study has one rank."
    assert found["H2"].verdict == "supported"


def test_a_study_in_english_alone_says_that_no_other_language_has_answered(study: Study) -> None:
    keys = study.plan.languages
    english = study.without(lambda _, block: keys[f"{block.task}/{block.subset}"] != "eng_Latn")
    found = english.answers()["H1"]
    assert found.reason == (
        "Not decided: no adapter with a rank has answered in the languages compared."
    )


def test_where_everything_is_right_nothing_is_decided(study: Study) -> None:
    right = tuple(
        dataclasses.replace(block, scores=np.ones_like(block.scores)) for block in study.blocks
    )
    found = dataclasses.replace(study, blocks=right).answers()
    assert {one.verdict for one in found.values()} == {"undecided"}
    low, high = found["H4"].low, found["H4"].high
    assert low is not None
    assert high is not None
    assert low < -1
    assert high > 1


def test_without_an_untuned_base_the_reason_is_that(study: Study) -> None:
    tuned = study.drawn(PLANTED, 0).without(lambda name, _: study._cell(name).method == "none")
    found = tuned.answers()
    for key in ("H4", "H5", "H8", "plateau"):
        assert found[key].reason == (
            "Not decided: no untuned base has answered the same as an adapter."
        )
    # Scores against scores need none.
    assert found["H1"].verdict == "supported"


def test_adapters_made_elsewhere_are_no_training_sets(study: Study) -> None:
    def elsewhere(cell: TrainCell) -> TrainCell:
        if cell.source != "more":
            return cell
        name = f"folder-{cell.r}-{cell.train_bits}"
        return dataclasses.replace(
            cell, method="adapter", source=name, languages=None, r=None, rows=None
        )

    found = study.drawn(PLANTED, 0).with_cells(elsewhere).answers()
    labels = [part.label for part in found["H6"].parts]
    assert len(labels) == 13
    assert all(label.startswith("one minus two, ") for label in labels)
    assert [part.label for part in found["H4"].parts] == ["one", "two", "trained elsewhere"]


def test_one_adapter_tells_little(study: Study) -> None:
    one = study.drawn(PLANTED, 0).only(
        lambda cell: (cell.source, cell.r, cell.train_bits) == ("one", 8, 4)
    )
    found = one.answers()
    assert "one rank and one precision" in found["H1"].reason
    assert "No two differ by chance alone" in found["H4"].note
    assert "Adapters: 1; cells of each: 2." in found["H4"].note
    two = study.drawn(PLANTED, 0).only(lambda cell: (cell.source, cell.train_bits) == ("one", 4))
    assert two.only(lambda cell: cell.r != 32).answers()["H1"].reason == (
        "Not decided: too few adapters to tell chance by: 2."
    )


def test_unfinished_adapters_are_left_out_and_said(study: Study) -> None:
    whole = study.drawn(PLANTED, 0)
    gone = next(name for name, cell in whole.plan.train.items() if cell.method != "none")

    def missing(name: str, block: Block) -> bool:
        english = (block.task, block.subset) == ("xcopa", "eng_Latn")
        return english and whole.plan.evals[name].train_id == gone

    found = whole.without(missing).answers()
    assert "Adapters: 17; cells of each: 2. Left out, since not finished: 1." in found["H4"].note
    assert "Adapters: 17, of which" in found["H5"].note
    assert "Left out, since not finished: 1." in found["H5"].note
    assert found["H1"].verdict == "supported"


def test_adapters_that_lack_different_languages_are_not_compared(study: Study) -> None:
    whole = study.drawn(NONE, 0)
    first, second = [name for name, cell in whole.plan.train.items() if cell.method != "none"][:2]
    subsets = {first: "deu_Latn", second: "jpn_Jpan"}

    def missing(name: str, block: Block) -> bool:
        return subsets.get(whole.plan.evals[name].train_id) == block.subset

    means = whole.without(missing).observed().gains_of_adapters(lambda one: one.group == "high")
    assert means is not None
    assert (means.left_out, len(means.adapters)) == (2, 16)
    pair = whole.without(missing).only(
        lambda cell: cell in (whole.plan.train[first], whole.plan.train[second])
    )
    means = pair.observed().gains_of_adapters(lambda one: one.group == "high")
    assert means is not None
    assert (means.left_out, len(means.adapters)) == (1, 1)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.8])
def test_a_study_that_runs_has_findings(study: Study, share: float) -> None:
    whole = study.drawn(PLANTED, 0, items=40)
    rng = np.random.default_rng(int(10 * share))
    found = whole.without(lambda _name, _block: bool(rng.random() > share)).answers(100)
    assert len(found) >= 12


def test_a_single_passage_tells_nothing(study: Study) -> None:
    assert study.drawn(NONE, 0, items=1).answers(100) == {}


def test_cells_that_have_answered_less_than_others_are_left_out(small: Study) -> None:
    name = next(name for name, cell in small.plan.train.items() if cell.method != "none")
    found = []
    for block in small.blocks:
        values, answered = block.scores.copy(), block.answered.copy()
        rows = [
            row for row, one in enumerate(block.eval_ids) if small.plan.evals[one].train_id == name
        ]
        values[rows, 40:], answered[rows] = np.nan, 40
        found.append(dataclasses.replace(block, scores=values, answered=answered))
    seen = dataclasses.replace(small, blocks=tuple(found)).observed().judged()
    assert len(seen.all) == len(small.observed().all) - 8
    assert name not in {one.adapter[0] for one in seen.all}


def test_an_adapter_that_answers_in_several_precisions_counts_once(study: Study) -> None:
    twins = {
        dataclasses.replace(cell, train_bits=None): name
        for name, cell in study.plan.train.items()
        if cell.train_bits == 16
    }

    def trained_at_16(evals: Mapping[str, object]) -> dict[str, object]:
        moved: dict[str, object] = {}
        for name, asked in study.plan.evals.items():
            cell = study.plan.train[asked.train_id]
            twin = twins.get(dataclasses.replace(cell, train_bits=None))
            moved[name] = dataclasses.replace(asked, train_id=twin) if twin else asked
        return moved

    plan = study.plan.model_copy(update={"evals": trained_at_16(study.plan.evals)})
    every = dataclasses.replace(study, plan=plan).observed(50)
    assert len(every.all) == 18 * 2 * len(LANGUAGES)
    seen = every.judged()
    assert len(seen.all) == 9 * 2 * len(LANGUAGES)
    assert {one.adapter[1] for one in seen.all} == {16}
    assert all(one.as_trained for one in seen.all)


def test_derived_languages_are_of_no_group(study: Study) -> None:
    known = {**study.plan.languages, "xcopa/yor_Latn": "eng_Latn-x-rev"}
    plan = study.plan.model_copy(update={"languages": known})
    seen = dataclasses.replace(study, plan=plan).observed(50)
    derived = [one for one in seen.all if one.language.key == "eng_Latn-x-rev"]
    assert len(derived) == 18
    assert {(one.group, one.natural) for one in derived} == {(None, False)}


@pytest.mark.parametrize(("level", "verdict"), [(0.93, "supported"), (0.3, "contradicted")])
def test_mistral_is_set_against_gpt_4(small: Study, level: float, verdict: str) -> None:
    named = "mistralai/Mistral-7B-v0.1"
    mistral = small.with_cells(lambda cell: dataclasses.replace(cell, base_name=named))
    found = mistral.at(lambda _train, _key: level, 0).answers()["H10"]
    assert found.verdict == verdict
    assert {part.label for part in found.parts} == {"mlqa", "xquad"}
    xquad = next(part for part in found.parts if part.label == "xquad")
    assert xquad.value == pytest.approx(100 * level - 69, abs=8)
    one_task = Study(mistral.plan, tuple(one for one in mistral.blocks if one.task == "mlqa"))
    assert "xquad was not asked" in one_task.answers()["H10"].reason


def with_full(small: Study) -> Study:
    """The adapters of "two" at r 8 become full fine-tunings on "one"; those at r 32 go."""

    def changed(cell: TrainCell) -> TrainCell:
        if cell.source != "two":
            return cell
        return dataclasses.replace(cell, source="one", method="full", r=None, lora_alpha=None)

    return small.only(lambda cell: (cell.source, cell.r) != ("two", 32)).with_cells(changed)


@pytest.mark.parametrize(("gain", "verdict"), [(0.15, "supported"), (-0.15, "contradicted")])
def test_lora_against_full_fine_tuning(small: Study, gain: float, verdict: str) -> None:
    study = with_full(small)

    def level(train_id: str, _key: str) -> float:
        return 0.5 + gain * (study.plan.train[train_id].method == "lora")

    found = study.at(level, 0).answers()["H11"]
    assert found.verdict == verdict
    assert holds(found, 100 * gain)
    assert {part.label for part in found.parts} == {"mlqa", "xquad"}


def test_adapters_share_the_luck_of_the_full_fine_tuning_they_are_set_against(small: Study) -> None:
    """Full fine-tunings of two seeds, 12 points apart: LoRA's four adapters do not hide it."""
    study = with_full(small)

    def level(train_id: str, _key: str) -> float:
        cell = study.plan.train[train_id]
        return 0.62 if cell.method == "full" and cell.seed == 1 else 0.5

    found = study.at(level, 0).answers()["H11"]
    assert found.verdict == "undecided"
    for part in found.parts:
        assert part.low is not None
        assert part.high is not None
        # Two values about 12 points apart, one degree of freedom: 12.7 x 6 points to each side.
        assert part.high - part.low > 60


@pytest.mark.full
@pytest.mark.parametrize("effects", [NONE, dataclasses.replace(NONE, rank_low=1.0, bits_low=1.0)])
def test_verdicts_and_intervals_over_many_studies(study: Study, effects: Effects) -> None:
    lean = study.only(lambda cell: cell.source != "two")
    studies, wrong, covered = 40, 0, np.zeros(2)
    for seed in range(studies):
        found = lean.drawn(effects, 100 + seed, items=80).answers(200)
        covered += holds(found["H1"], effects.rank_low), holds(found["H2"], effects.bits_low)
        true = {"H1", "H2"} if effects.rank_low else set()
        wrong += any(found[k].verdict == "supported" for k in DIRECTIONAL if k not in true)
    assert wrong / studies <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5
    assert (covered / studies >= 0.9).all()
