"""What all questions to one study share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from maple.analysis.blocks import Block
from maple.analysis.observed import Observation, Observed
from maple.analysis.slopes import Group, Slopes, slopes


@dataclass(frozen=True, slots=True)
class Evidence:
    """A study, as it may be judged.

    Attributes:
        observed: its judged observations.
        prompts, held_out, scored: as for `answers.findings`.
        ranked: of adapters with a rank, answering in the bits they were trained in.
        whole: those of bases that were not published quantised, which alone tell about bits.
        quantised: the other bases.
    """

    observed: Observed
    prompts: pl.DataFrame | None
    held_out: pl.DataFrame | None
    scored: Sequence[Block]
    ranked: tuple[Observation, ...]
    whole: tuple[Observation, ...]
    quantised: tuple[str, ...]

    @property
    def no_bits(self) -> str:
        """Why nothing can be said about bits; "" where something can."""
        if self.whole or not self.quantised:
            return ""
        return (
            f"{' and '.join(self.quantised)} was published quantised, so its 16 bits carry "
            "the errors of fewer, and no verdict about bits is drawn from it"
        )

    @property
    def no_base(self) -> str:
        """Why nothing can be said about gains; "" where something can."""
        if self.observed.compared():
            return ""
        return "no untuned base has answered the same as an adapter"

    def slopes_of_bits(self, group: Group, *, languages_vary: bool = True) -> Slopes | str:
        """Slopes over bits, or why there are none."""
        if self.no_bits:
            return self.no_bits
        return slopes(self.observed, self.whole, group, languages_vary=languages_vary)


def evidence(
    judged: Observed,
    prompts: pl.DataFrame | None,
    held_out: pl.DataFrame | None,
    scored: Sequence[Block],
) -> Evidence:
    """The evidence of a study.

    Args:
        judged: its observations that verdicts may rest on.
        prompts, held_out, scored: as for `answers.findings`.
    """
    low_precision = {base.name for base in judged.plan.bases if base.source_precision is not None}
    ranked = tuple(one for one in judged.all if one.cell.r and one.as_trained)
    # A base that was published quantised carries that error at every precision.
    whole = tuple(one for one in ranked if one.cell.base_name not in low_precision)
    quantised = sorted({one.cell.base_name for one in ranked} & low_precision)
    return Evidence(judged, prompts, held_out, scored, ranked, whole, tuple(quantised))
