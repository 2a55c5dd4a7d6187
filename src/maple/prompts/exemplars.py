"""Which items serve as exemplars, and the text that they make."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from maple.errors import DataError
from maple.records import Example, Prompted


def choose(pool: Sequence[Example], n: int, seed: int, key: str) -> list[Example]:
    """The `n` exemplars of a pool, the same for every item: a prefix that all prompts share.

    Each example has a place in an order that depends on the seed, the key and its id alone, so
    fewer shots are a beginning of more.

    Args:
        pool: candidates.
        n: number of shots; 0 gives none.
        seed: of the exemplars, apart from the training seed.
        key: "<task>/<subset>".

    Returns:
        In the order of the prompt; never two of one cluster.

    Raises:
        DataError: the pool has fewer than `n` clusters.
    """
    chosen: dict[str, Example] = {}
    for example in sorted(pool, key=lambda example: _place(seed, key, example)):
        if len(chosen) == n:
            break
        chosen.setdefault(example.cluster_id, example)
    if len(chosen) < n:
        raise DataError(
            f"{key}: {n} exemplars asked for, the pool has {len(pool)} items in "
            f"{len(chosen)} clusters",
            f"set n_shot to {len(chosen)} or less",
        )
    return list(chosen.values())


def blocks(prompted: Sequence[Prompted], exemplars: Sequence[Example]) -> tuple[str, ...]:
    """Each exemplar with its right answer and a blank line; joined, the text before a prompt.

    Args:
        prompted: n exemplars under the prompt of the item that follows.
        exemplars: the same n.
    """
    return tuple(
        rendered.text + rendered.answers[example.target or 0] + "\n\n"
        for rendered, example in zip(prompted, exemplars, strict=True)
    )


def prefix(prompted: Sequence[Prompted], exemplars: Sequence[Example]) -> str:
    """`blocks`, joined: "" for no exemplar."""
    return "".join(blocks(prompted, exemplars))


def _place(seed: int, key: str, example: Example) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{key}\x1f{example.example_id}".encode()).digest()
