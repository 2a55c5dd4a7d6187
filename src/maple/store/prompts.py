"""Some items' prompts as they were asked, for people to look at; nothing is computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from maple.errors import StoreError
from maple.store.files import write_bytes

KEPT = 20
"""Items of a subset whose prompts are kept, from the first on: what a report's sample may show."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a subset's first items, before any was shortened to fit a model.

    Attributes:
        prefix: what all of them begin with: a template's head and the exemplars.
        texts: what follows, by example id, in item order.
    """

    prefix: str
    texts: Mapping[str, str]


_ADAPTER = TypeAdapter(Prompts)


def write(path: Path, prompts: Prompts) -> None:
    """Replace a file of prompts."""
    write_bytes(path, _ADAPTER.dump_json(prompts, indent=1) + b"\n")


def read(path: Path) -> Prompts | None:
    """A file of prompts, if there is one.

    Raises:
        StoreError: it is there and holds something else.
    """
    if not path.exists():
        return None
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise StoreError(
            f"{path}: cannot be read as prompts", "delete the file and run again to make it anew"
        ) from error
