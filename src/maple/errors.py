"""What a user's mistake or a broken environment looks like inside MAPLE.

Every error that a user can cause derives from `MapleError` and reads the same way: where, what
was found, what was expected; then a blank line and a hint. The command line prints it without
a traceback and exits with 2. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Self


class MapleError(Exception):
    """A problem that the user can act on.

    Args:
        what: where the problem is, what was found there and what was expected.
        hint: what to do about it; "" where nothing useful can be said.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        self.what = what
        self.hint = hint
        super().__init__(what)

    def at(self, place: str) -> MapleError:
        """The same problem, said to be in a place ("base.models[0]", "xnli/eng_Latn")."""
        what = f"{place}: {self.what}"
        if isinstance(self, OutOfReachError):
            return OutOfReachError(what, self.hint, self.reason)
        return MapleError(what, self.hint)

    def __str__(self) -> str:
        return f"{self.what}\n\nhint: {self.hint}" if self.hint else self.what

    @classmethod
    def of(cls, problems: Sequence[MapleError], shown: int | None = None) -> Self:
        """All `problems` as one error, so that they are mended in one go.

        Args:
            problems: at least one.
            shown: how many are spelled out; None for all. The others are counted.

        Raises:
            ValueError: `problems` is empty.
        """
        if not problems:
            raise ValueError("no problems to report")
        if len(problems) == 1:
            return cls(problems[0].what, problems[0].hint)
        lines = [f"{len(problems)} problems:"]
        spelled = problems[:shown]
        for index, problem in enumerate(spelled):
            lines.append(f"  - {problem.what}")
            following = spelled[index + 1].hint if index + 1 < len(spelled) else ""
            if problem.hint and problem.hint != following:  # one hint for a run that shares it
                lines.append(f"    hint: {problem.hint}")
        if len(problems) > len(spelled):
            lines.append(f"  ... {len(problems) - len(spelled)} more")
        return cls("\n".join(lines))


class OutOfReachError(MapleError):
    """What a hub has and this machine cannot get: no network, or no access. No mistake of a study.

    Attributes:
        reason: what is out of reach and why, wherever the study asks for it.
    """

    def __init__(self, what: str, hint: str = "", reason: str = "") -> None:
        super().__init__(what, hint)
        self.reason = reason or what


class StudyError(MapleError):
    """One or several mistakes in a study file or in the arguments that stand for one."""


class DataError(MapleError):
    """Release files, hub datasets or rows that are missing, broken or contradictory."""


class NoExemplarsError(DataError):
    """A benchmark has no items to spare for exemplars: all of them are scored."""


class NoWordError(DataError):
    """A language has no word that a prompt needs."""


class ModelError(MapleError):
    """A base model, tokenizer, adapter or request that cannot be used as asked."""


class DataOutOfReachError(DataError, OutOfReachError):
    """A hub dataset that cannot be got here."""


class ModelOutOfReachError(ModelError, OutOfReachError):
    """A hub model that cannot be got here."""


class StoreError(MapleError):
    """A results folder that cannot be read or written."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known names, or all of them where none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "known: " + ", ".join(names) if names else ""
