"""How large what a method trains will be, from the shapes of the base's matrices alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from maple.models.adapter_files import module_shapes, weight_values
from maple.records import TrainCell
from maple.study.methods import FULL, METHODS

_FLOAT = 4
_CHECKPOINTS = 2
"""On the disk at once: the last one, and the one being written."""

_WITH_MOMENTS = 3
"""Values that a checkpoint holds for each trained one: itself and Adam's two moments."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes on the disk.

    Attributes:
        product: of what is kept.
        checkpoints: of what is there beside it while training.
    """

    product: int
    checkpoints: int


def trained_size(base_path: str, cell: TrainCell) -> Size:
    """About how much a train cell writes; nothing for bases without files."""
    if not base_path:
        return Size(0, 0)
    if cell.method == FULL:
        values = weight_values(Path(base_path))
        kept = values * (4 if cell.train_bits == 32 else 2)
        return Size(kept, values * _WITH_MOMENTS * _FLOAT * _CHECKPOINTS)
    shapes = targeted(module_shapes(Path(base_path)), cell.target_modules)
    values = adapter_values(cell, shapes)
    written = _WITH_MOMENTS * values
    if METHODS[cell.method].converted:
        kept = 2 * values  # stored at twice the rank
        written += values  # the frozen start
    else:
        kept = values
    return Size(kept * _FLOAT, written * _FLOAT * _CHECKPOINTS)


def targeted(
    shapes: Mapping[str, tuple[int, int]], targets: str | tuple[str, ...] | None
) -> dict[str, tuple[int, int]]:
    """Of a base's matrices those that an adapter sits on."""
    return {
        name: shape
        for name, shape in shapes.items()
        if (
            any(f".{name}".endswith(f".{target}") for target in targets)
            if isinstance(targets, tuple)
            else "layers" in name
        )
    }


def adapter_values(cell: TrainCell, shapes: Mapping[str, tuple[int, int]]) -> int:
    """Numbers in an adapter, of VeRA the shared matrices too.

    Args:
        shapes: (outputs, inputs) of each adapted layer.
    """
    r = cell.r or 0
    pairs = list(shapes.values())
    sides = sum(rows + columns for rows, columns in pairs)
    if cell.method == "ia3":
        return sum(rows for rows, _ in pairs)
    if cell.method == "vera":
        shared = r * (max((n for n, _ in pairs), default=0) + max((k for _, k in pairs), default=0))
        return shared + sum(rows + r for rows, _ in pairs)
    if cell.method == "lokr":
        return sum(
            _kronecker(rows, columns, r, dict(cell.options or ())) for rows, columns in pairs
        )
    if cell.method == "loha":
        return 2 * r * sides
    magnitudes = sum(rows for rows, _ in pairs) if cell.method == "dora" else 0
    return r * sides + magnitudes


def _kronecker(rows: int, columns: int, r: int, options: Mapping[str, object]) -> int:
    """LoKr's two factors; the right one is whole where its rank would save nothing."""
    stated = options.get("decompose_factor")
    height, width = (
        (stated, stated) if isinstance(stated, int) else (math.isqrt(rows), math.isqrt(columns))
    )
    inner = (rows // max(1, height), columns // max(1, width))
    return height * width + min(inner[0] * inner[1], r * sum(inner))
