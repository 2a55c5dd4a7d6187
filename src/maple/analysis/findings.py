"""What a study says about a question: the verdict, the effect behind it, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True, slots=True)
class Part:
    """One contrast among those behind a verdict, or beside it.

    Attributes:
        label: what it is about: a class, a task, a pair of sources.
        value, low, high: the contrast and its 95 % interval; None where it cannot be told.
        p: two-sided, not corrected; None where it was not tested.
        unit: of the three numbers, such as "points a doubling".
    """

    label: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A question, answered as far as the study can.

    Attributes:
        key: "H1" to "H11" for the paper's findings, else a short name.
        claim: what is supported or contradicted, as a sentence.
        verdict: corrected for all verdicts of the study.
        effect, low, high: the main contrast and its 95 % interval; None where there is none.
        unit: of the effect.
        contrast: what is subtracted from what, over what.
        reason: why the verdict is what it is, in words.
        parts: further contrasts.
        note: what must be known to read it; "" for nothing.
    """

    key: str
    claim: str
    verdict: Verdict
    effect: float | None
    low: float | None
    high: float | None
    unit: str
    contrast: str
    reason: str
    parts: tuple[Part, ...] = ()
    note: str = ""
