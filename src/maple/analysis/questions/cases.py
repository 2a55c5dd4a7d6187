"""A question before correction, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from maple.analysis.effects import Effect
from maple.analysis.estimates import LEVEL
from maple.analysis.findings import Finding, Part, Verdict

POINTS, DOUBLING = "points", "points a doubling"

SELECTED = "The largest of several looks larger than it is; its interval does not know that."

# Tails are not known better than this.
_LEAST_P = 0.001


@dataclass(frozen=True, slots=True)
class Case:
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


def decided(case: Case, right: float | None, wrong: float | None) -> Finding:
    """The verdict on a case.

    Args:
        right, wrong: its p-values, corrected.
    """
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


def part(label: str, effect: Effect, unit: str = POINTS) -> Part:
    """An effect as a line beside a verdict."""
    return Part(label, effect.value, *effect.interval(), effect.differs(), unit)


def parts(effects: Iterable[tuple[str, Effect]], unit: str = POINTS) -> tuple[Part, ...]:
    """Effects as lines beside a verdict, by their labels."""
    return tuple(part(label, effect, unit) for label, effect in effects)


def known(effects: Iterable[tuple[str, Effect | None]]) -> list[tuple[str, Effect]]:
    """Those effects that there are."""
    return [(label, effect) for label, effect in effects if effect is not None]


def _p(value: float) -> str:
    """As it is written in a sentence; no p-value is 0."""
    return f"p = {value:.2g}" if value >= _LEAST_P else f"p < {_LEAST_P:g}"
