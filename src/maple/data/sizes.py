"""How many items the releases have, to tell a whole one from a part of it: `sizes.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from maple.data.sources import Source


@dataclass(frozen=True, slots=True)
class Size:
    """Rows of a subset in its release; None where it is not known.

    Attributes:
        items: scored items of a task, or rows of a training source.
        exemplars: items of the exemplar pool.
    """

    items: int | None
    exemplars: int | None


def known(name: str, dataset: str, subset: str) -> Size:
    """The size of a subset of a task, or of a language of a training source.

    Args:
        name: of the task or source.
        dataset: "release", ...; sources have that one.
        subset: a name that the task or source has for it.
    """
    sizes = _sizes().get(dataset, {}).get(name, {})
    return Size(_of(sizes.get("items"), subset), _of(sizes.get("exemplars"), subset))


def trained_on(source: Source) -> int | None:
    """Rows of a training source in all its languages, where a study does not say how many.

    Returns:
        What the release has, those without an output among them, or what a preset is cut to; None
        where a language's size is unknown.
    """
    name = source.part_of or source.name
    sizes = [known(name, "release", language).items for language in source.languages]
    found = [size for size in sizes if size is not None]
    if len(found) < len(sizes):
        return None
    each = source.rows_each
    return sum(found if each is None else [min(size, each) for size in found])


def _of(count: int | Mapping[str, int] | None, subset: str) -> int | None:
    """A count of every subset alike, or by subset."""
    return count.get(subset) if isinstance(count, Mapping) else count


@cache
def _sizes() -> Mapping[str, Any]:
    return tomllib.loads(resources.files("maple.data").joinpath("sizes.toml").read_text("utf-8"))
