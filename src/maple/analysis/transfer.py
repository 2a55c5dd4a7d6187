"""What decides how much a language gains: trained on, related to it, written alike, token-hungry.

A mixed model of the gains of all adapters in all languages but English. Random: adapters, adapters
in each task, and languages, so that a language which was asked in many tasks by many adapters is
still one language. Every covariate is a property of a language beside a training set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from maple.analysis.effects import Effect, Variance, items
from maple.analysis.estimates import Floats
from maple.analysis.mixed import fit, independent, term
from maple.analysis.observed import IN_ENGLISH, Observation, Observed
from maple.languages import ENGLISH, language

TRAINED, FAMILY, SCRIPT, FERTILITY = "trained on", "same family", "same script", "tokens"

MEANINGS: Mapping[str, str] = {
    TRAINED: "trained on, against languages that are not and have neither family nor script of one",
    FAMILY: "not trained on, but of the family of a language that is",
    SCRIPT: "not trained on, but in the script of a language that is",
    FERTILITY: "a doubling of the tokens that the same items take, against English",
}


@dataclass(frozen=True, slots=True)
class Transfer:
    """What was found.

    Attributes:
        effects: points, by covariate; those that this study cannot tell are left out.
        adapters, languages: how many are behind them.
        without_tokens: languages whose tokens nobody has counted beside English, left out.
    """

    effects: dict[str, Effect]
    adapters: int
    languages: int
    without_tokens: int


def transfer(observed: Observed, prompts: pl.DataFrame | None) -> Transfer | str:
    """Fit the model.

    Args:
        observed: a study.
        prompts: `rates.prompts`; without it, tokens are no covariate.

    Returns:
        The effects, or why there are none: words that end a sentence.
    """
    kept = [
        one
        for one in observed.compared()
        if one.cell.languages
        and one.natural
        and one.group != IN_ENGLISH
        and one.language.family is not None
    ]
    premiums = {} if prompts is None else _premiums(prompts)
    counted = [one for one in kept if (one.cell.tokenizer, one.language.key) in premiums]
    lost = len({one.language.key for one in kept} - {one.language.key for one in counted})
    # Tokens help only where there are enough languages left that have been counted.
    with_tokens = bool(counted) and lost < len({one.language.key for one in kept}) / 2
    if with_tokens:
        kept = counted
    if not kept:
        return "no adapter whose training languages are known was compared with its base"
    columns = _columns(kept)
    if with_tokens:
        columns[FERTILITY] = np.array(
            [premiums[one.cell.tokenizer, one.language.key] for one in kept]
        )
    strata = [(one.unit[0], one.cell.base_name) for one in kept]
    names = list(columns)
    told = independent(np.column_stack(list(columns.values())), strata)
    names = [names[place] for place in told]
    adapters = {one.adapter for one in kept}
    languages = {one.language.key for one in kept}
    spare = len(languages) - len(names) - 1
    if not names:
        return "all languages asked are alike in what was trained on"
    if spare < 1:
        return (
            f"too few languages to tell chance by: {len(languages)}, and {len(names)} things "
            "that they may differ in"
        )
    terms = [term("language", [one.language.key for one in kept])]
    if len(adapters) > 1:
        terms.append(term("adapter", [one.adapter for one in kept]))
        terms.append(term("adapter in task", [(one.adapter, one.unit[0]) for one in kept]))
    values, replicates = observed.gains(kept)
    fixed = np.column_stack([columns[name] for name in names])
    try:
        found = fit(values, fixed, terms, strata)
    except ValueError as error:
        return str(error)
    again = found.again(replicates)
    groups = observed.groups(kept)
    effects = {
        name: Effect(
            float(found.fixed[place]),
            (
                Variance("languages and adapters", float(found.covariance[place, place]), spare),
                items(again[place], groups),
            ),
            len(kept),
        )
        for place, name in enumerate(names)
    }
    return Transfer(effects, len(adapters), len(languages), lost if with_tokens else 0)


def _columns(kept: Sequence[Observation]) -> dict[str, Floats]:
    rows = []
    for one in kept:
        trained = one.cell.languages or ()
        inside = one.language.key in trained
        others = [language(key) for key in trained]
        family = not inside and any(other.family == one.language.family for other in others)
        script = not inside and any(other.script == one.language.script for other in others)
        rows.append((float(inside), float(family), float(script)))
    table = np.array(rows)
    return {name: table[:, place] for place, name in enumerate((TRAINED, FAMILY, SCRIPT))}


def _premiums(prompts: pl.DataFrame) -> dict[tuple[str, str], float]:
    """log2 of tokens an item over those of the same task in English, by tokenizer and language."""
    each = prompts.group_by("tokenizer", "task", "prompt", "language").agg(
        (pl.col("tokens").sum() / pl.col("items").sum()).alias("size")
    )
    english = each.filter(pl.col("language") == ENGLISH).drop("language")
    beside = each.join(english, on=["tokenizer", "task", "prompt"], suffix="_english")
    found = beside.group_by("tokenizer", "language").agg(
        (pl.col("size") / pl.col("size_english")).log(2).mean().alias("premium")
    )
    return {
        (tokenizer, key): premium
        for tokenizer, key, premium in found.select("tokenizer", "language", "premium").iter_rows()
        if premium is not None and np.isfinite(premium)
    }
