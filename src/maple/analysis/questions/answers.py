"""All questions, asked of one study and decided together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from maple.analysis.blocks import Block
from maple.analysis.findings import Finding
from maple.analysis.observed import Observed
from maple.analysis.questions import enough, languages, rank_and_bits, rivals, training_sets
from maple.analysis.questions.cases import Case, decided
from maple.analysis.questions.evidence import Evidence, evidence
from maple.analysis.significance import adjusted


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
    cases = tuple(_cases(evidence(judged, prompts, held_out, scored)))
    p_values = [p for case in cases for p in (case.right, case.wrong) if p is not None]
    corrected = iter(adjusted(p_values, "holm"))
    found = []
    for case in cases:
        right = None if case.right is None else next(corrected)
        wrong = None if case.wrong is None else next(corrected)
        found.append(decided(case, right, wrong))
    return tuple(found)


def _cases(known: Evidence) -> Iterator[Case]:
    yield from rank_and_bits.low_resource(known)
    yield rank_and_bits.english(known)
    yield languages.english_drops(known)
    yield languages.low_gain_while_high_lose(known)
    yield training_sets.sets_alike(known)
    yield training_sets.more_languages(known)
    yield languages.others_gain(known)
    yield training_sets.base_matters_more(known)
    yield rivals.passes_gpt4(known)
    yield rivals.lora_beats_full(known)
    yield from enough.fewer_bits(known)
    yield rank_and_bits.families(known)
    yield enough.plateau(known)
    yield languages.relatives_gain(known)
