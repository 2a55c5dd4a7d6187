"""The small data sets that come with the package: "mini", written for it, in a few languages."""

from __future__ import annotations

from pathlib import Path

MINI = Path(__file__).parent / "mini"


def mini_languages(folder: str, suffix: str) -> tuple[str, ...]:
    """Keys of the languages that a packaged folder has files for, sorted.

    Args:
        folder: the name of a task, or "instructions".
        suffix: what follows the key in the file's name: ".test.jsonl".
    """
    names = (path.name for path in (MINI / folder).glob(f"*{suffix}"))
    return tuple(sorted(name.removesuffix(suffix) for name in names))
