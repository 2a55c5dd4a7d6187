"""H4, H5, H8 and transfer: which languages gain by fine-tuning, and which lose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from maple.analysis.effects import MARGIN, Effect, Variance, average, items
from maple.analysis.estimates import LEVEL
from maple.analysis.observed import (
    HIGH,
    IN_ENGLISH,
    LOW,
    Means,
    Observation,
    Observed,
    by_adapter,
    intended,
)
from maple.analysis.questions.cases import Case, known, parts
from maple.analysis.questions.evidence import Evidence
from maple.analysis.questions.matched import data_of, left_out, over
from maple.analysis.significance import adjusted, bonferroni
from maple.analysis.transfer import FAMILY, MEANINGS, transfer


def english_drops(evidence: Evidence) -> Case:
    """H4: what fine-tuning costs in English."""
    case = Case(
        "H4",
        "English drops after multilingual fine-tuning.",
        "tuned minus untuned in English, mean over adapters",
    )
    means = evidence.observed.gains_of_adapters(lambda one: one.group == IN_ENGLISH)
    if means is None:
        asked = "no adapter and its untuned base were asked the same in English"
        return dataclasses.replace(case, missing=evidence.no_base or asked)
    effect = means.mean()
    return dataclasses.replace(
        case,
        effect=effect,
        right=bonferroni(effect.below()),
        wrong=bonferroni(effect.above(-MARGIN)),
        parts=parts(_by_data(means)),
        note=f"{over(means)} Counts as wrong where the drop is less than {MARGIN:g} point.",
    )


def low_gain_while_high_lose(evidence: Evidence) -> Case:
    """H5: whether some adapter gives to the one and takes from the other."""
    case = Case(
        "H5",
        "Low-resource languages sometimes gain while high-resource ones lose.",
        "gain in low-resource languages minus gain in high-resource ones, mean over adapters",
    )
    low = evidence.observed.gains_of_adapters(lambda one: one.group == LOW)
    high = evidence.observed.gains_of_adapters(lambda one: one.group in {HIGH, IN_ENGLISH})
    if low is None or high is None:
        asked = "one of the two groups has not been asked"
        return dataclasses.replace(case, missing=evidence.no_base or asked)
    both = [name for name in low.adapters if name in high.adapters]
    if not both:
        return dataclasses.replace(case, missing="no adapter has answered all of both groups")
    first, second = (
        means.at([means.adapters.index(name) for name in both]) for means in (low, high)
    )
    rights, wrongs = [], []
    for place in range(len(both)):
        up, down = _one(first, place), _one(second, place)
        rights.append(bonferroni(max(up.above(), down.below())))
        # Either part may be the wrong one.
        wrongs.append(bonferroni(min(up.below(MARGIN), down.above(-MARGIN)), 4))
    difference = dataclasses.replace(
        first,
        values=first.values - second.values,
        replicates=first.replicates - second.replicates,
        groups=min(first.groups, second.groups),
    )
    kept = [p for p in adjusted(rights, "holm") if p < 1 - LEVEL]
    return dataclasses.replace(
        case,
        effect=difference.mean(),
        # Some adapter is enough to be right, so that each may be tried, at a price; to be
        # wrong, all must be.
        right=bonferroni(min(rights), len(rights)),
        wrong=bonferroni(max(wrongs)),
        parts=parts((("low-resource languages", first.mean()), ("high", second.mean()))),
        note=(
            f"Adapters: {len(both)}, of which {len(kept)} do both after Holm's correction over "
            "them. High-resource languages are those of classes 4 and 5, English among them."
            f"{left_out(max(low.left_out, high.left_out))}"
        ),
    )


def others_gain(evidence: Evidence) -> Case:
    """H8: whether languages gain that were not trained on."""
    case = Case(
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

    def inside(one: Observation) -> bool:
        return one.cell.languages is not None and one.language.key in one.cell.languages

    effect = _over_languages(evidence.observed, outside)
    if effect is None:
        asked = "fewer than two languages outside the training sets were asked"
        return dataclasses.replace(case, missing=evidence.no_base or asked)
    both = (("not trained on", effect), ("trained on", _over_languages(evidence.observed, inside)))
    return dataclasses.replace(
        case,
        effect=effect,
        right=bonferroni(effect.above()),
        wrong=bonferroni(effect.below(MARGIN)),
        parts=parts(known(both)),
        note=f"A language's gain is the mean over the adapters that were not trained on it; every "
        f"language weighs the same. Counts as wrong below {MARGIN:g} point. The transfer table has "
        "every language.",
    )


def relatives_gain(evidence: Evidence) -> Case:
    """Transfer: whether the family of a language is what makes it gain."""
    case = Case(
        "transfer",
        "Languages that were not trained on gain more where their family was.",
        "gain of languages whose family was trained on minus that of others that were not, "
        "script and tokens alike",
    )
    found = transfer(evidence.observed, evidence.prompts)
    if isinstance(found, str):
        return dataclasses.replace(case, missing=found)
    note = f"Adapters: {found.adapters}; languages beside English: {found.languages}."
    if found.without_tokens:
        without = found.without_tokens
        note += f" Left out, since their tokens are not known beside English: {without}."
    case = dataclasses.replace(
        case,
        parts=parts((MEANINGS[name], effect) for name, effect in found.effects.items()),
        note=note,
    )
    if FAMILY not in found.effects:
        missing = "no language asked has a family that was trained on without itself"
        return dataclasses.replace(case, missing=missing)
    effect = found.effects[FAMILY]
    return dataclasses.replace(
        case,
        effect=effect,
        right=bonferroni(effect.above()),
        wrong=bonferroni(effect.below(MARGIN)),
        note=f"{note} Counts as wrong below {MARGIN:g} point.",
    )


def _by_data(means: Means) -> Iterator[tuple[str, Effect]]:
    """The mean of each training set's adapters, where there are several sets."""
    elsewhere = "trained elsewhere"
    own = [elsewhere if cell.method == "adapter" else data_of(cell) for cell in means.cells]
    names = dict.fromkeys(own)
    for name in names if len(names) > 1 else ():
        yield name, means.at([place for place, other in enumerate(own) if other == name]).mean()


def _one(means: Means, place: int) -> Effect:
    """One adapter, these very languages: items alone vary."""
    return Effect(
        float(means.values[place]), (items(means.replicates[place], means.groups),), means.units
    )


def _over_languages(observed: Observed, wanted: Callable[[Observation], bool]) -> Effect | None:
    """Mean gain over languages, each weighing the same, as of other languages of their kind."""
    each = observed.gains_in_each(wanted)
    if len(each) < 2:
        return None
    values = np.array([value for value, _ in each.values()])
    replicates = np.stack([drawn for _, drawn in each.values()])
    kept = [one for one in observed.compared() if wanted(one)]
    spread = float(values.var(ddof=1)) / len(values)
    variances = [
        items(replicates.mean(axis=0), observed.groups(kept)),
        Variance("languages", spread, len(values) - 1),
    ]
    adapters = _of_adapters(observed, kept)
    if adapters is not None:
        variances.append(adapters)
    return Effect(float(values.mean()), tuple(variances), len(kept))


def _of_adapters(observed: Observed, kept: Sequence[Observation]) -> Variance | None:
    """What seeds add to a mean over adapters; None where the design spares none."""
    own = by_adapter(kept)
    values = np.array([float(observed.gains(found)[0].mean()) for found in own.values()])
    # Adapters of one source share their languages; those of several are compared within.
    columns = intended([found[0].cell for found in own.values()], [bits for _, bits in own])
    return average(values, np.zeros((len(values), 2)), 2.0, columns).source("adapters")
