"""Scores that others have published, by task, language and system, to be shown beside ours.

The numbers are one research group's sheet, carried as they stand; `published.toml` says where they
are from, how they became a table, and which of them cannot be scores.
"""

from __future__ import annotations

import csv
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, cast

Mode = Literal["monolingual", "translate-test", "zero-shot cross-lingual", "unstated"]

# Points that a guess gets, of tasks with choices.
_CHANCE = {"belebele": 25.0, "xcopa": 50.0, "xnli": 100 / 3}


@dataclass(frozen=True, slots=True)
class Published:
    """One published score.

    Attributes:
        task: name of ours.
        language: key of ours.
        metric: "accuracy", "f1", "exact_match" or "rougeL".
        system: as it is called there.
        value: points, 0 to 100.
    """

    task: str
    language: str
    metric: str
    system: str
    mode: Mode
    value: float

    @property
    def doubt(self) -> str:
        """Why the number is not to be read as a score; "" where nothing speaks against it."""
        if self.value == 0:
            return "0 stands for no answer"
        if self.metric == "accuracy" and self.value < _CHANCE[self.task] / 2:
            return "below half of what a guess gets: answers were not read"
        reasons = (one["why"] for one in _about()["doubtful"] if self._is_among(one))
        return next(reasons, "")

    def _is_among(self, doubtful: dict[str, Any]) -> bool:
        own = (
            ("tasks", self.task),
            ("systems", self.system),
            ("modes", self.mode),
            ("languages", self.language),
        )
        return all(value in doubtful.get(name, [value]) for name, value in own)


def published(task: str, metric: str) -> tuple[Published, ...]:
    """All published scores of a task under a metric, doubtful ones, too; none where unknown.

    Args:
        task: name of ours.
        metric: as in `Published`.
    """
    return tuple(row for row in _rows() if (row.task, row.metric) == (task, metric))


def _read(name: str) -> str:
    return resources.files("maple.analysis").joinpath(name).read_text(encoding="utf-8")


@cache
def _rows() -> tuple[Published, ...]:
    return tuple(
        Published(
            row["task"],
            row["language"],
            row["metric"],
            row["system"],
            cast("Mode", row["mode"]),
            float(row["value"]),
        )
        for row in csv.DictReader(_read("published.csv").splitlines())
    )


@cache
def _about() -> dict[str, Any]:
    return tomllib.loads(_read("published.toml"))


SOURCE: str = _about()["source"]
"""Where the numbers are from, a sentence."""

CAUTION: str = _about()["caution"]
"""What to bear in mind beside ours, a sentence."""
