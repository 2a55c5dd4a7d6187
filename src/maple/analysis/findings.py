"""What became of a hypothesis: a verdict with its effect, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True, slots=True)
class Part:
    """One of the numbers that a verdict rests on.

    Attributes:
        label: what it is of, for example a task.
        value: None where it could not be estimated.
        low, high: ends of its 95 % interval; None without one.
        p: of the test against no effect; None where none was made.
        unit: of value, low and high.
    """

    label: str
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A hypothesis and what the study says about it.

    Attributes:
        key: its name, for example "H1".
        claim: what it says, one sentence.
        effect: None where the study allows no estimate.
        low, high: ends of the effect's 95 % interval; None without one.
        unit: of effect, low and high.
        contrast: what is compared with what.
        reason: why the verdict is what it is.
        parts: numbers behind it.
        note: what else a reader must know; "" for nothing.
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
