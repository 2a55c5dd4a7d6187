"""The paper's findings as hypotheses, H1 to H11, each answered by the study as far as it can.

A verdict is "supported" where the data exclude that the claim is wrong, "contradicted" where they
exclude that it is right by as much as `MARGIN`, and "undecided" else: an absence of evidence is no
evidence. All p-values that verdicts rest on are one family, corrected by Holm.

Claims that something rises are right from 0 upwards and count as wrong below the margin; claims
that two things are alike are right within the margin and count as wrong where 0 is excluded. Where
a claim has several parts, all must hold, and its p-value is the largest of theirs (Berger 1982).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np
import polars as pl

from maple.analysis.blocks import Block
from maple.analysis.effects import MARGIN, Effect, Variance, average, design, items
from maple.analysis.estimates import LEVEL, Floats
from maple.analysis.findings import Finding, Part, Verdict
from maple.analysis.observed import (
    HIGH,
    IN_ENGLISH,
    LOW,
    Adapter,
    Means,
    Observation,
    Observed,
    Unit,
    arm,
    whole,
)
from maple.analysis.plateau import bend
from maple.analysis.published import SOURCE, Published, published
from maple.analysis.significance import adjusted
from maple.analysis.slopes import BITS, RANK, ItemSlopes, Slopes, item_slopes, slopes
from maple.analysis.transfer import FAMILY, MEANINGS, transfer
from maple.languages import language
from maple.records import TrainCell

POINTS, DOUBLING = "points", "points a doubling"

_PAPERS_LAST = 128
"""The highest rank of the paper."""

# Tails are not known better than this.
_LEAST_P = 0.001


@dataclass(frozen=True, slots=True)
class _Case:
    """A question before correction.

    Attributes:
        effect: the main contrast; None where there is none.
        right: p-value for the claim; None where it cannot be tested.
        wrong: p-value against it.
        missing: why nothing can be said; "" where something can.
    """

    key: str
    claim: str
    contrast: str
    unit: str = POINTS
    effect: Effect | None = None
    right: float | None = None
    wrong: float | None = None
    missing: str = ""
    parts: tuple[Part, ...] = ()
    note: str = ""


class _Beside(NamedTuple):
    """What two adapters must share to make a pair; the seed alone is chance."""

    r: int | None
    bits: int | None
    arm: tuple[object, ...]
    seed: int | None


def findings(
    observed: Observed,
    prompts: pl.DataFrame | None = None,
    held_out: pl.DataFrame | None = None,
    scored: Sequence[Block] = (),
) -> tuple[Finding, ...]:
    """Every hypothesis with its verdict, H1 first, then what the paper left open.

    Nothing where no adapter has answered anything.

    Args:
        observed: a study.
        prompts: `rates.prompts`, for the tokens that languages take.
        held_out: `frames.held_out`, to stand beside the gains of high ranks.
        scored: `blocks.blocks`, for a model of single answers beside that of cell means.
    """
    judged = observed.judged()
    if not judged.all:
        return ()
    cases = tuple(_Questions(judged, prompts, held_out, scored).cases())
    p_values = [p for case in cases for p in (case.right, case.wrong) if p is not None]
    corrected = iter(adjusted(p_values, "holm"))
    found = []
    for case in cases:
        right = None if case.right is None else next(corrected)
        wrong = None if case.wrong is None else next(corrected)
        found.append(_decided(case, right, wrong))
    return tuple(found)


def _decided(case: _Case, right: float | None, wrong: float | None) -> Finding:
    verdict: Verdict = "undecided"
    if case.missing:
        reason = f"Not decided: {case.missing}."
    elif right is not None and right < 1 - LEVEL:
        verdict = "supported"
        reason = f"The data exclude that it is otherwise ({_p(right)} for it, corrected)."
    elif wrong is not None and wrong < 1 - LEVEL:
        verdict = "contradicted"
        reason = f"The data exclude that it is so ({_p(wrong)} against it, corrected)."
    else:
        tested = (("for the claim", right), ("against it", wrong))
        shown = ", ".join(f"{_p(p)} {how}" for how, p in tested if p is not None)
        reason = f"The data exclude neither ({shown}; corrected)."
    effect = case.effect
    low, high = effect.interval() if effect is not None else (None, None)
    return Finding(
        key=case.key,
        claim=case.claim,
        verdict=verdict,
        effect=effect.value if effect is not None else None,
        low=low,
        high=high,
        unit=case.unit,
        contrast=case.contrast,
        reason=reason,
        parts=case.parts,
        note=case.note,
    )


def _p(value: float) -> str:
    """As it is written in a sentence; no p-value is 0."""
    return f"p = {value:.2g}" if value >= _LEAST_P else f"p < {_LEAST_P:g}"


def part(label: str, effect: Effect, unit: str = POINTS) -> Part:
    """An effect as a line beside a verdict."""
    return Part(label, effect.value, *effect.interval(), effect.differs(), unit)


class _Questions:
    """All questions to one study."""

    def __init__(
        self,
        observed: Observed,
        prompts: pl.DataFrame | None,
        held_out: pl.DataFrame | None,
        scored: Sequence[Block],
    ) -> None:
        self.observed = observed
        self.prompts = prompts
        self.scored = scored
        self.by_item: dict[int, ItemSlopes | str] = {}
        self.held_out = held_out
        self.ranked = [one for one in observed.all if one.cell.r and one.as_trained]
        low_precision = {
            base.name for base in observed.plan.bases if base.source_precision is not None
        }
        # A base that was published quantised carries that error at every precision.
        self.whole = [one for one in self.ranked if one.cell.base_name not in low_precision]
        self.quantised = sorted({one.cell.base_name for one in self.ranked} & low_precision)

    def cases(self) -> Iterator[_Case]:
        by_class = self._slopes(self.ranked, lambda one: _not_english(one.group))
        precise = (
            by_class if not self.quantised else self._bits(lambda one: _not_english(one.group))
        )
        yield self._h1(by_class)
        yield self._h2(precise)
        yield self._h3()
        yield self._h4()
        yield self._h5()
        yield self._h6()
        yield self._h7()
        yield self._h8()
        yield self._h9()
        yield self._h10()
        yield self._h11()
        yield from self._equivalences()
        yield self._families()
        yield self._plateau()
        yield self._transfer()

    def _slopes(
        self,
        wanted: Sequence[Observation],
        group: Callable[[Observation], str | None],
        *,
        languages_vary: bool = True,
    ) -> Slopes | str:
        return slopes(self.observed, wanted, group, languages_vary=languages_vary)

    def _bits(
        self, group: Callable[[Observation], str | None], *, languages_vary: bool = True
    ) -> Slopes | str:
        """Slopes over bits, by the rule that a base published quantised says nothing about them."""
        if not self.whole and self.quantised:
            return (
                f"{' and '.join(self.quantised)} was published quantised, so its 16 bits carry "
                "the errors of fewer, and no verdict about bits is drawn from it"
            )
        return self._slopes(self.whole, group, languages_vary=languages_vary)

    def _h1(self, found: Slopes | str) -> _Case:
        case = _Case(
            "H1",
            "A higher rank helps low-resource languages.",
            "score a doubling of r, low-resource languages (classes 0 to 3)",
            DOUBLING,
        )
        return self._rising(case, found, RANK, LOW)

    def _h2(self, found: Slopes | str) -> _Case:
        case = _Case(
            "H2",
            "More bits help low-resource languages.",
            "score a doubling of the bits, low-resource languages (classes 0 to 3)",
            DOUBLING,
        )
        return self._rising(case, found, BITS, LOW)

    def _rising(self, case: _Case, found: Slopes | str, axis: str, group: str) -> _Case:
        missing = _no_slope(found, axis, group)
        if missing or isinstance(found, str):
            return dataclasses.replace(case, missing=missing)
        effect = found.effects[axis, group]
        parts = [
            part(f"{name}, {each}", one, DOUBLING)
            for (name, each), one in found.effects.items()
            if name == axis
        ]
        parts += self._by_item(axis, group)
        return dataclasses.replace(
            case,
            effect=effect,
            right=min(1.0, 2 * effect.above()),
            wrong=min(1.0, 2 * effect.below(_margin(found, axis))),
            parts=tuple(parts),
            note=(
                f"Counts as wrong below {_margin(found, axis):.2g} a doubling, which is "
                f"{MARGIN:g} point over the whole range ({_range(found, axis)}). "
                f"Adapters: {found.adapters}; languages: {found.languages}."
                f"{self._alpha() if axis == RANK else ''}"
            ),
        )

    def _by_item(self, axis: str, group: str) -> Iterator[Part]:
        """The same slope from single answers, where scores of items are at hand."""
        if not self.scored:
            return
        wanted = self.ranked if axis == RANK else self.whole
        # Both questions are answered by one fit, unless a base says nothing about bits.
        if len(wanted) not in self.by_item:
            self.by_item[len(wanted)] = item_slopes(
                self.observed, wanted, lambda one: _not_english(one.group), self.scored
            )
        found = self.by_item[len(wanted)]
        if isinstance(found, ItemSlopes) and (axis, group) in found.slopes.effects:
            yield part(
                f"{axis}, {group}, model of {found.answers:,} single answers (the first "
                f"{found.items} items of {found.subsets} subsets)",
                found.slopes.effects[axis, group],
                DOUBLING,
            )

    def _alpha(self) -> str:
        """How lora_alpha goes with r: without it a slope over r is half understood."""
        ratios = {
            one.cell.lora_alpha / one.cell.r
            for one in self.ranked
            if one.cell.lora_alpha and one.cell.r
        }
        if len(ratios) == 1:
            return f" lora_alpha = {ratios.pop():g}r."
        return " lora_alpha is no fixed multiple of r: the step size changes with the rank."

    def _h3(self) -> _Case:
        case = _Case(
            "H3",
            "A higher rank and more bits preserve English.",
            "score in English a doubling of r; both slopes must rise",
            DOUBLING,
            note="English instruction following (AlpacaEval) is not among the tasks yet.",
        )

        def english(one: Observation) -> str | None:
            return IN_ENGLISH if one.group == IN_ENGLISH else None

        rank = self._slopes(self.ranked, english, languages_vary=False)
        bits = self._bits(english, languages_vary=False)
        lacking = [
            missing
            for found, axis in ((rank, RANK), (bits, BITS))
            if (missing := _no_slope(found, axis, IN_ENGLISH))
        ]
        shown = [
            (axis, found)
            for found, axis in ((rank, RANK), (bits, BITS))
            if not isinstance(found, str) and (axis, IN_ENGLISH) in found.effects
        ]
        parts = tuple(
            part(f"{axis}, English", found.effects[axis, IN_ENGLISH], DOUBLING)
            for axis, found in shown
        )
        effect = shown[0][1].effects[shown[0][0], IN_ENGLISH] if shown else None
        wrongs = [
            min(1.0, 2 * found.effects[axis, IN_ENGLISH].below(_margin(found, axis)))
            for axis, found in shown
        ]
        if lacking:
            return dataclasses.replace(
                case, missing="; ".join(dict.fromkeys(lacking)), parts=parts, effect=effect
            )
        rights = [min(1.0, 2 * found.effects[axis, IN_ENGLISH].above()) for axis, found in shown]
        # One part that is wrong is enough, so that either may be tried, at a price.
        wrong = min(1.0, len(wrongs) * min(wrongs))
        return dataclasses.replace(case, effect=effect, right=max(rights), wrong=wrong, parts=parts)

    def _h4(self) -> _Case:
        case = _Case(
            "H4",
            "English drops after multilingual fine-tuning.",
            "tuned minus untuned in English, mean over adapters",
        )
        means = self.observed.gains_of_adapters(lambda one: one.group == IN_ENGLISH)
        if means is None:
            return dataclasses.replace(
                case,
                missing="no adapter and its untuned base were asked the same in English",
            )
        effect = _mean(means)
        return dataclasses.replace(
            case,
            effect=effect,
            right=min(1.0, 2 * effect.below()),
            wrong=min(1.0, 2 * effect.above(-MARGIN)),
            parts=tuple(self._by_source(means)),
            note=f"{_over(means)} Counts as wrong where the drop is less than {MARGIN:g} point.",
        )

    def _by_source(self, means: Means) -> Iterator[Part]:
        names = dict.fromkeys(_data(cell) for cell in means.cells)
        for name in names if len(names) > 1 else ():
            some = means.where(lambda cell, name=name: _data(cell) == name)  # type: ignore[misc]
            if some is not None:
                yield part(name, _mean(some))

    def _h5(self) -> _Case:
        case = _Case(
            "H5",
            "Low-resource languages sometimes gain while high-resource ones lose.",
            "gain in low-resource languages minus gain in high-resource ones, mean over adapters",
        )
        low = self.observed.gains_of_adapters(lambda one: one.group == LOW)
        high = self.observed.gains_of_adapters(lambda one: one.group in {HIGH, IN_ENGLISH})
        if low is None or high is None:
            return dataclasses.replace(case, missing="one of the two groups has not been asked")
        both = [name for name in low.adapters if name in high.adapters]
        if not both:
            return dataclasses.replace(case, missing="no adapter has answered all of both groups")
        first = _ordered(low, both)
        second = _ordered(high, both)
        rights, wrongs = [], []
        for place in range(len(both)):
            up = _one(first, place)
            down = _one(second, place)
            rights.append(min(1.0, 2 * max(up.above(), down.below())))
            # Either part may be the wrong one.
            wrongs.append(min(1.0, 4 * min(up.below(MARGIN), down.above(-MARGIN))))
        difference = dataclasses.replace(
            first,
            values=first.values - second.values,
            replicates=first.replicates - second.replicates,
            groups=min(first.groups, second.groups),
        )
        kept = [p for p in adjusted(rights, "holm") if p < 1 - LEVEL]
        return dataclasses.replace(
            case,
            effect=_mean(difference),
            # Some adapter is enough to be right, so that each may be tried, at a price; to be
            # wrong, all must be.
            right=min(1.0, len(rights) * min(rights)),
            wrong=min(1.0, 2 * max(wrongs)),
            parts=(part("low-resource languages", _mean(first)), part("high", _mean(second))),
            note=(
                f"Adapters: {len(both)}, of which {len(kept)} do both after Holm's correction over "
                "them. High-resource languages are those of classes 4 and 5, English among them."
                f"{_left_out(max(low.left_out, high.left_out))}"
            ),
        )

    def _h6(self) -> _Case:
        case = _Case(
            "H6",
            "The training sets perform alike, language by language.",
            "the largest difference between two training sets in one language",
        )
        compared = list(self._pairs_of_sources())
        if not compared:
            return dataclasses.replace(
                case, missing="no two training sets share adapters that differ in nothing else"
            )
        return self._alike(case, compared)

    def _alike(self, case: _Case, compared: Sequence[tuple[str, Effect]]) -> _Case:
        """A claim that all of some contrasts are within the margin."""
        largest = max(compared, key=lambda one: abs(one[1].value))
        ordered = sorted(compared, key=lambda one: -abs(one[1].value))
        differing = adjusted([one.differs() for _, one in compared], "holm")
        number = sum(p < 1 - LEVEL for p in differing)
        return dataclasses.replace(
            case,
            effect=largest[1],
            right=max(one.within() for _, one in compared),
            wrong=min(differing),
            parts=tuple(part(label, one) for label, one in ordered),
            note=(
                f"The effect is {largest[0]}. Contrasts: {len(compared)}, of which {number} differ "
                f"after Holm's correction over them. Alike means within {MARGIN:g} point."
            ),
        )

    def _pairs_of_sources(self) -> Iterator[tuple[str, Effect]]:
        """Differences of two training sets, language by language, over matched adapters."""
        seen = self.observed.all
        names = list(dict.fromkeys(_data(one.cell) for one in seen))
        keys = list(dict.fromkeys(one.language.key for one in seen))
        for first, second in combinations(names, 2):
            for key in keys:
                effect = self._matched(
                    [one for one in seen if one.language.key == key],
                    lambda cell, name=first: _data(cell) == name,  # type: ignore[misc]
                    lambda cell, name=second: _data(cell) == name,  # type: ignore[misc]
                    _beside_data,
                )
                if effect is not None:
                    yield f"{first} minus {second}, {language(key).name}", effect

    def _matched(
        self,
        seen: Sequence[Observation],
        first: Callable[[TrainCell], bool],
        second: Callable[[TrainCell], bool],
        beside: Callable[[Observation], _Beside],
    ) -> Effect | None:
        """Mean difference in points of adapters of two kinds that are alike beside.

        Args:
            seen: observations; scores, not gains, are compared.
            first, second: the kinds.
            beside: what must be equal for two adapters to make a pair.
        """
        sides: list[dict[tuple[_Beside, Unit], Observation]] = [{}, {}]
        for one in seen:
            for side, kind in zip(sides, (first, second), strict=True):
                if kind(one.cell):
                    side[beside(one), one.unit] = one
        pairs: dict[_Beside, list[tuple[Observation, Observation]]] = {}
        for key, one in sides[0].items():
            if key in sides[1]:
                pairs.setdefault(key[0], []).append((one, sides[1][key]))
        if not pairs:
            return None
        kept = whole(pairs, lambda pair: pair[0].unit)
        values, replicates, groups = [], [], []
        for found in kept.values():
            own, drawn = self.observed.points([one for one, _ in found])
            other, drawn_other = self.observed.points([one for _, one in found])
            values.append(float((own - other).mean()))
            replicates.append((drawn - drawn_other).mean(axis=0))
            groups.append(self.observed.groups(one for one, _ in found))
        factors: list[list[object]] = [
            [float(np.log2(key.r)) if key.r else 0.0 for key in kept],
            [float(np.log2(key.bits)) if key.bits else 0.0 for key in kept],
            [key.arm for key in kept],
        ]
        return average(np.array(values), np.stack(replicates), min(groups), design(factors))

    def _h7(self) -> _Case:
        case = _Case(
            "H7",
            "Twenty-two languages instead of eleven, at the same size, bring nothing.",
            "the training set of more languages minus the one of fewer, mean over languages",
        )
        sizes: dict[str, tuple[int, int | None, frozenset[str]]] = {}
        for one in self.observed.all:
            cell = one.cell
            if cell.languages:
                sizes[_data(cell)] = len(cell.languages), cell.rows, frozenset(cell.languages)
        nested = [
            (more, less)
            for more, less in ((a, b) for a in sizes for b in sizes if a != b)
            if sizes[less][2] < sizes[more][2] and _same_size(sizes[more][1], sizes[less][1])
        ]
        effects = []
        for more, less in nested:
            effect = self._matched(
                [one for one in self.observed.all if one.group is not None],
                lambda cell, name=more: _data(cell) == name,  # type: ignore[misc]
                lambda cell, name=less: _data(cell) == name,  # type: ignore[misc]
                _beside_data,
            )
            if effect is not None:
                label = (
                    f"{more} ({sizes[more][0]} languages) minus {less} ({sizes[less][0]} languages)"
                )
                effects.append((label, effect))
        if not effects:
            return dataclasses.replace(
                case,
                missing="no two training sets of about the same size where one has all languages "
                "of the other and more",
            )
        return self._alike(case, effects)

    def _h8(self) -> _Case:
        case = _Case(
            "H8",
            "Transfer reaches languages that are not in the training set.",
            "tuned minus untuned in languages other than English that were not trained on, "
            "mean over adapters and languages",
        )

        def outside(one: Observation) -> bool:
            trained = one.cell.languages
            # Adapters made elsewhere do not say what they were trained on.
            return (
                trained is not None
                and one.language.key not in trained
                and one.natural
                and one.group != IN_ENGLISH
            )

        effect = self._over_languages(outside)
        if effect is None:
            return dataclasses.replace(
                case, missing="fewer than two languages outside the training sets were asked"
            )
        inside = self._over_languages(
            lambda one: one.cell.languages is not None and one.language.key in one.cell.languages
        )
        parts = [part("not trained on", effect)]
        if inside is not None:
            parts.append(part("trained on", inside))
        return dataclasses.replace(
            case,
            effect=effect,
            right=min(1.0, 2 * effect.above()),
            wrong=min(1.0, 2 * effect.below(MARGIN)),
            parts=tuple(parts),
            note=f"Counts as wrong below {MARGIN:g} point. The transfer table has every language.",
        )

    def _over_languages(self, wanted: Callable[[Observation], bool]) -> Effect | None:
        """Mean gain over languages, each weighing the same, as of other languages of their kind."""
        each = self.observed.gains_in_each(wanted)
        if len(each) < 2:
            return None
        values = np.array([value for value, _ in each.values()])
        replicates = np.stack([drawn for _, drawn in each.values()])
        kept = [one for one in self.observed.compared() if wanted(one)]
        groups = self.observed.groups(kept)
        variances = [items(replicates.mean(axis=0), groups)]
        variances.append(
            Variance("languages", float(values.var(ddof=1)) / len(values), len(values) - 1)
        )
        adapters = self._adapters_apart(kept)
        if adapters is not None:
            variances.append(adapters)
        return Effect(float(values.mean()), tuple(variances), len(kept))

    def _adapters_apart(self, kept: Sequence[Observation]) -> Variance | None:
        """What seeds add to a mean over adapters; None where the design spares none."""
        of_adapter: dict[tuple[str, int], list[Observation]] = {}
        for one in kept:
            of_adapter.setdefault(one.adapter, []).append(one)
        values = np.array(
            [float(self.observed.gains(found)[0].mean()) for found in of_adapter.values()]
        )
        cells = [found[0].cell for found in of_adapter.values()]
        # Adapters of one source share their languages; those of several are compared within.
        columns = design(
            [
                [float(np.log2(cell.r)) if cell.r else 0.0 for cell in cells],
                [float(bits) for _, bits in of_adapter],
                [arm(cell) for cell in cells],
            ]
        )
        found = average(values, np.zeros((len(values), 2)), 2.0, columns)
        return next((one for one in found.variances if one.of == "adapters"), None)

    def _h9(self) -> _Case:
        case = _Case(
            "H9",
            "The base model matters more than how the instructions were made.",
            "range of the mean score over bases minus range over training sets",
        )
        wanted = [one for one in self.observed.all if one.group is not None]
        bases = list(dict.fromkeys(one.cell.base_name for one in wanted))
        names = list(dict.fromkeys(_data(one.cell) for one in wanted))
        if len(bases) < 2 or len(names) < 2:
            return dataclasses.replace(
                case, missing="it takes two base models and two training sets in one study"
            )
        adapters: dict[tuple[str, int], list[Observation]] = {}
        for one in wanted:
            adapters.setdefault(one.adapter, []).append(one)
        kept = list(whole(adapters, lambda one: one.unit).values())
        cells = [found[0].cell for found in kept]
        values, replicates = [], []
        for found in kept:
            own, drawn = self.observed.points(found)
            values.append(own.mean())
            replicates.append(drawn.mean(axis=0))
        scores, drawn = np.array(values), np.stack(replicates)
        by_base = [[cell.base_name == base for cell in cells] for base in bases]
        by_data = [[_data(cell) == name for cell in cells] for name in names]
        if not all(map(any, (*by_base, *by_data))):
            return dataclasses.replace(case, missing="a base or a training set is not finished")
        columns = design(
            [
                [float(np.log2(cell.r)) if cell.r else 0.0 for cell in cells],
                [float(cell.train_bits or 0) for cell in cells],
                [arm(cell) for cell in cells],
            ]
        )
        noise = average(scores, drawn, self.observed.groups(wanted), columns)
        adapter = next((one for one in noise.variances if one.of == "adapters"), None)
        if adapter is None:
            return dataclasses.replace(case, missing="no adapter to spare to tell chance by")
        generator = np.random.default_rng(0)
        spread = (adapter.value * len(scores)) ** 0.5
        moved = drawn + generator.normal(0.0, spread, drawn.shape)
        observed = _spread(scores[:, None], by_base) - _spread(scores[:, None], by_data)
        resampled = _spread(moved, by_base) - _spread(moved, by_data)
        effect = Effect(
            float(observed[0]),
            (Variance("items and adapters", float(resampled.var(ddof=1)), adapter.freedom),),
            len(scores),
        )
        return dataclasses.replace(
            case,
            effect=effect,
            right=min(1.0, 2 * effect.above()),
            wrong=min(1.0, 2 * effect.below()),
            note=(
                f"{len(bases)} bases, {len(names)} training sets: these very ones, no others."
                f"{_left_out(len(adapters) - len(kept))}"
            ),
        )

    def _h10(self) -> _Case:
        case = _Case(
            "H10",
            "Tuned Mistral-7B passes GPT-4 on MLQA and XQuAD.",
            "mean F1 of the tuned adapters minus GPT-4's published one, over shared languages; "
            "both tasks must",
            note=SOURCE,
        )
        wanted = [
            one
            for one in self.observed.all
            if "mistral-7b" in one.cell.base_name.lower() and one.unit[0].task in {"mlqa", "xquad"}
        ]
        if not wanted:
            return dataclasses.replace(
                case, missing="no base of the study is Mistral-7B, asked in MLQA or XQuAD"
            )
        effects: dict[str, Effect] = {}
        for task in ("mlqa", "xquad"):
            effect = self._against(
                [one for one in wanted if one.unit[0].task == task],
                [one for one in published(task, "f1") if one.system == "GPT-4"],
            )
            if effect is not None:
                effects[task] = effect
        parts = tuple(part(task, effect) for task, effect in effects.items())
        if len(effects) < 2:
            lacking = sorted({"mlqa", "xquad"} - effects.keys())
            return dataclasses.replace(
                case,
                missing=f"{' and '.join(lacking)} was not asked in a language that is published",
                parts=parts,
            )
        worst = min(effects.values(), key=lambda one: one.value)
        return dataclasses.replace(
            case,
            effect=worst,
            right=min(1.0, 2 * max(one.above() for one in effects.values())),
            wrong=min(1.0, 4 * min(one.below() for one in effects.values())),
            parts=parts,
            note=(
                f"{case.note} Another prompt, other exemplars, perhaps other items: a difference "
                "of protocols is in the effect. The effect shown is that of the worse task."
            ),
        )

    def _against(
        self, wanted: Sequence[Observation], references: Sequence[Published]
    ) -> Effect | None:
        """Mean over adapters of the mean over languages of the score minus the published one."""
        # Of several modes the best: to pass it is to pass them all.
        best: dict[str, float] = {}
        for known in references:
            best[known.language] = max(known.value, best.get(known.language, known.value))
        shared = [one for one in wanted if one.language.key in best]
        adapters: dict[tuple[str, int], list[Observation]] = {}
        for one in shared:
            adapters.setdefault(one.adapter, []).append(one)
        if not adapters:
            return None
        kept = list(whole(adapters, lambda one: one.unit).values())
        values, replicates = [], []
        for found in kept:
            own, drawn = self.observed.points(found)
            values.append(own.mean() - np.mean([best[one.language.key] for one in found]))
            replicates.append(drawn.mean(axis=0))
        cells = [found[0].cell for found in kept]
        columns = design(
            [
                [float(np.log2(cell.r)) if cell.r else 0.0 for cell in cells],
                [float(cell.train_bits or 0) for cell in cells],
                [arm(cell) for cell in cells],
            ]
        )
        groups = self.observed.groups(shared)
        return average(np.array(values), np.stack(replicates), groups, columns)

    def _h11(self) -> _Case:
        case = _Case(
            "H11",
            "LoRA sometimes beats full fine-tuning.",
            "LoRA minus full fine-tuning on the same base, data and seed, mean over languages; "
            "the task where it is best",
        )
        tasks = dict.fromkeys(one.unit[0].task for one in self.observed.all)
        effects = {}
        for task in tasks:
            effect = self._lora_against_full(task)
            if effect is not None:
                effects[task] = effect
        if not effects:
            return dataclasses.replace(
                case, missing="the study has no LoRA adapter beside a full fine-tuning"
            )
        best = max(effects.values(), key=lambda one: one.value)
        return dataclasses.replace(
            case,
            effect=best,
            # One task is enough to be right, so that each may be tried, at a price.
            right=min(1.0, 2 * len(effects) * min(one.above() for one in effects.values())),
            wrong=min(1.0, 2 * max(one.below(MARGIN) for one in effects.values())),
            parts=tuple(part(task, effect) for task, effect in effects.items()),
            note=(
                "LoRA of several ranks and precisions counts as their mean. With one seed, the "
                "interval is about this very full fine-tuning."
            ),
        )

    def _lora_against_full(self, task: str) -> Effect | None:
        """Mean difference in points over full fine-tunings, each against all LoRA adapters like it.

        Adapters that are compared with the same full fine-tuning share its luck, so that chance is
        told by how much full fine-tunings of other seeds differ; where there are none, by the
        adapters, for this very one.
        """
        seen = [one for one in self.observed.all if one.unit[0].task == task]
        full = [one for one in seen if one.cell.method == "full"]
        of_both: dict[tuple[Adapter, Adapter], list[tuple[Observation, Observation]]] = {}
        for one in seen:
            for other in full if one.cell.method == "lora" else ():
                if (_beside_method(one.cell), one.unit) == (_beside_method(other.cell), other.unit):
                    of_both.setdefault((one.adapter, other.adapter), []).append((one, other))
        if not of_both:
            return None
        kept = whole(of_both, lambda pair: pair[0].unit)
        values, replicates = [], []
        for pairs in kept.values():
            own, drawn = self.observed.points([one for one, _ in pairs])
            theirs, drawn_theirs = self.observed.points([other for _, other in pairs])
            values.append(float((own - theirs).mean()))
            replicates.append((drawn - drawn_theirs).mean(axis=0))
        groups = self.observed.groups(one for pairs in kept.values() for one, _ in pairs)
        each, drawn_each = np.array(values), np.stack(replicates)
        of_full: dict[Adapter, list[int]] = {}
        for place, (_, name) in enumerate(kept):
            of_full.setdefault(name, []).append(place)
        trained = {other.adapter: other.cell for _, other in chain.from_iterable(kept.values())}
        found = average(
            np.array([each[places].mean() for places in of_full.values()]),
            np.stack([drawn_each[places].mean(axis=0) for places in of_full.values()]),
            groups,
            design([[arm(trained[name]) for name in of_full]]),
        )
        if any(one.of == "adapters" for one in found.variances):
            return found
        cells = [pairs[0][0].cell for pairs in kept.values()]
        columns = design(
            [
                [float(np.log2(cell.r or 1)) for cell in cells],
                [float(cell.train_bits or 0) for cell in cells],
                [arm(cell) for cell in cells],
            ]
        )
        return average(each, drawn_each, groups, columns)

    def _equivalences(self) -> Iterator[_Case]:
        """Whether fewer bits are as good as the most, for each precision."""
        bits = sorted({bits for one in self.ranked for bits in [one.adapter[1]]})
        for fewer in bits[:-1]:
            case = _Case(
                f"{fewer} bits",
                f"{fewer} bits are within {MARGIN:g} point of {bits[-1]}.",
                f"score in {fewer} bits minus score in {bits[-1]}, adapters alike beside, "
                "mean over languages",
            )
            if not self.whole:
                why = self._bits(lambda _one: LOW)
                yield dataclasses.replace(case, missing=str(why))
                continue
            effects = {
                name: effect
                for name, wanted in (
                    ("all languages", (LOW, HIGH, IN_ENGLISH)),
                    (LOW, (LOW,)),
                    (HIGH, (HIGH,)),
                    (IN_ENGLISH, (IN_ENGLISH,)),
                )
                if (
                    effect := self._between_bits(
                        [one for one in self.whole if one.group in wanted], fewer, bits[-1]
                    )
                )
                is not None
            }
            if "all languages" not in effects:
                yield dataclasses.replace(
                    case, missing="no adapters differ in their bits and nothing else"
                )
                continue
            effect = effects["all languages"]
            yield dataclasses.replace(
                case,
                effect=effect,
                right=effect.within(),
                wrong=min(1.0, 2 * min(effect.above(MARGIN), effect.below(-MARGIN))),
                parts=tuple(part(name, one) for name, one in effects.items()),
            )

    def _between_bits(self, seen: Sequence[Observation], fewer: int, most: int) -> Effect | None:
        return self._matched(
            seen,
            lambda cell: cell.train_bits == fewer,
            lambda cell: cell.train_bits == most,
            _beside_bits,
        )

    def _families(self) -> _Case:
        case = _Case(
            "families",
            "Language families differ in what a higher rank gives them.",
            "the largest slope over r of a family minus the smallest",
            DOUBLING,
        )
        found = self._slopes(
            [one for one in self.ranked if one.group != IN_ENGLISH and one.natural],
            lambda one: one.language.family,
        )
        missing = _no_slope(found, RANK, None)
        if missing or isinstance(found, str):
            return dataclasses.replace(case, missing=missing)
        by_family = {name: one for (axis, name), one in found.effects.items() if axis == RANK}
        if len(by_family) < 2:
            return dataclasses.replace(case, missing="all languages asked are of one family")
        precise = self._bits(_not_english_family)
        of_bits = {} if isinstance(precise, str) else precise.effects
        parts = [part(f"rank, {name}", one, DOUBLING) for name, one in by_family.items()]
        parts += [
            part(f"bits, {name}", one, DOUBLING)
            for (axis, name), one in of_bits.items()
            if axis == BITS
        ]
        pairs = [_difference(a, b) for a, b in combinations(by_family.values(), 2)]
        largest = max(pairs, key=lambda one: abs(one.value))
        effect = dataclasses.replace(largest, value=abs(largest.value))
        return dataclasses.replace(
            case,
            effect=effect,
            right=min(adjusted([one.differs() for one in pairs], "holm")),
            parts=tuple(sorted(parts, key=lambda one: (one.label[:4], -(one.value or 0.0)))),
            note="Families of one language stand on that language alone.",
        )

    def _plateau(self) -> _Case:
        case = _Case(
            "plateau",
            f"Beyond r = {_PAPERS_LAST} gains in low-resource languages level off or reverse.",
            "slope over r behind the bend of a line with one bend, low-resource languages",
            DOUBLING,
        )
        means = self.observed.gains_of_adapters(lambda one: one.group == LOW and bool(one.cell.r))
        if means is None:
            return dataclasses.replace(case, missing="no low-resource language was asked")
        losses = tuple(self._held_out_losses(means))
        found = bend(means)
        if isinstance(found, str):
            return dataclasses.replace(case, missing=found, parts=losses)
        parts = (
            part(f"before r = {found.at}", found.before, DOUBLING),
            part(f"behind r = {found.at}", found.after, DOUBLING),
            *losses,
        )
        note = f"The bend is at r = {found.at}, between {found.low} and {found.high} in 95 %."
        if found.ranks[-1] <= _PAPERS_LAST:
            missing = f"no adapter has a rank beyond {_PAPERS_LAST}"
            return dataclasses.replace(
                case, effect=found.after, missing=missing, parts=parts, note=note
            )
        margin = float(MARGIN / np.log2(found.ranks[-1] / found.at))
        return dataclasses.replace(
            case,
            effect=found.after,
            right=min(1.0, 2 * found.after.below(margin)),
            wrong=min(1.0, 2 * found.after.above()),
            parts=parts,
            note=f"{note} Levelling off: below {margin:.2g} a doubling, which is {MARGIN:g} point "
            "over the ranks behind the bend.",
        )

    def _held_out_losses(self, means: Means) -> Iterator[Part]:
        """Held-out loss in the languages trained on, by rank, beside what they gained."""
        if self.held_out is None or self.held_out.is_empty():
            return
        names = [name for name, _ in means.adapters]
        own = self.held_out.filter(pl.col("train_id").is_in(names) & pl.col("trained_on"))
        each = own.group_by("r").agg(pl.col("after").mean()).sort("r")
        for r, loss in each.iter_rows():
            yield Part(f"held-out loss, r = {r}", loss, None, None, None, "nats a labelled token")

    def _transfer(self) -> _Case:
        case = _Case(
            "transfer",
            "Languages that were not trained on gain more where their family was.",
            "gain of languages whose family was trained on minus that of others that were not, "
            "script and tokens alike",
        )
        found = transfer(self.observed, self.prompts)
        if isinstance(found, str):
            return dataclasses.replace(case, missing=found)
        parts = tuple(part(MEANINGS[name], effect) for name, effect in found.effects.items())
        note = f"Adapters: {found.adapters}; languages beside English: {found.languages}."
        if found.without_tokens:
            left_out = found.without_tokens
            note += f" Left out, since their tokens are not known beside English: {left_out}."
        if FAMILY not in found.effects:
            missing = "no language asked has a family that was trained on without itself"
            return dataclasses.replace(case, missing=missing, parts=parts, note=note)
        effect = found.effects[FAMILY]
        return dataclasses.replace(
            case,
            effect=effect,
            right=min(1.0, 2 * effect.above()),
            wrong=min(1.0, 2 * effect.below(MARGIN)),
            parts=parts,
            note=f"{note} Counts as wrong below {MARGIN:g} point.",
        )


def _not_english(group: str | None) -> str | None:
    return None if group == IN_ENGLISH else group


def _not_english_family(one: Observation) -> str | None:
    return None if one.group == IN_ENGLISH or not one.natural else one.language.family


def _difference(first: Effect, second: Effect) -> Effect:
    """Taken as independent, which is rather too wide than too narrow."""
    return Effect(
        first.value - second.value, (*first.variances, *second.variances), first.n + second.n
    )


def _no_slope(found: Slopes | str, axis: str, group: str | None) -> str:
    """Why there is no slope; "" where there is one."""
    if isinstance(found, str):
        return found
    if not any(name == axis for name, _ in found.effects):
        return f"the study has one {'rank' if axis == RANK else 'precision'}"
    if group is not None and (axis, group) not in found.effects:
        return (
            f"no {group} language was asked"
            if group != LOW
            else "no low-resource language was asked"
        )
    return ""


def _margin(found: Slopes, axis: str) -> float:
    levels = found.ranks if axis == RANK else found.bits
    return float(MARGIN / np.log2(levels[-1] / levels[0]))


def _range(found: Slopes, axis: str) -> str:
    levels = found.ranks if axis == RANK else found.bits
    return f"{'r' if axis == RANK else 'bits'} {levels[0]} to {levels[-1]}"


def _mean(means: Means) -> Effect:
    return average(means.values, means.replicates, means.groups, means.design())


def _one(means: Means, place: int) -> Effect:
    """One adapter, these very languages: items alone vary."""
    return Effect(
        float(means.values[place]), (items(means.replicates[place], means.groups),), means.units
    )


def _ordered(means: Means, adapters: Sequence[tuple[str, int]]) -> Means:
    places = [means.adapters.index(name) for name in adapters]
    return dataclasses.replace(
        means,
        adapters=tuple(adapters),
        cells=tuple(means.cells[place] for place in places),
        values=means.values[places],
        replicates=means.replicates[places],
    )


def _over(means: Means) -> str:
    text = f"Adapters: {len(means.adapters)}; cells of each: {means.units}."
    text += _left_out(means.left_out)
    if not any(one.of == "adapters" for one in _mean(means).variances):
        text += " No two differ by chance alone, so other seeds may differ by more."
    return text


def _left_out(adapters: int) -> str:
    """Of those that are not finished; "" for none."""
    return f" Left out, since not finished: {adapters}." if adapters else ""


def _data(cell: TrainCell) -> str:
    return ", ".join(name for name in (cell.source, cell.mixture) if name)


def _beside_data(one: Observation) -> _Beside:
    cell = one.cell
    made = cell.base_name, cell.template_name, cell.method, cell.learning_rate, cell.options
    return _Beside(cell.r, one.adapter[1], (*made, cell.transform, cell.train_bits), cell.seed)


def _beside_method(cell: TrainCell) -> tuple[object, ...]:
    """Without the learning rate, which methods need different ones of."""
    return cell.base_name, _data(cell), cell.template_name, cell.transform, cell.seed


def _beside_bits(one: Observation) -> _Beside:
    return _Beside(one.cell.r, None, arm(one.cell), one.cell.seed)


def _same_size(first: int | None, second: int | None) -> bool:
    """Within a twentieth of each other."""
    return (
        first is not None
        and second is not None
        and abs(first - second) <= 0.05 * max(first, second)
    )


def _spread(values: Floats, groups: Iterable[Sequence[bool]]) -> Floats:
    """Largest mean of a group minus the smallest, [b]."""
    means = np.stack([values[np.array(members)].mean(axis=0) for members in groups])
    return np.asarray(means.max(axis=0) - means.min(axis=0))
