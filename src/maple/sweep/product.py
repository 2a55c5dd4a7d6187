"""What a training made, laid out where its user asked for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from maple.store import Store

_OURS = ("record.json", "log.jsonl")
"""Files of a train folder that are the store's own."""


def lay_out(store: Store, train_id: str) -> bool:
    """Put a product's files into the results folder itself, for PEFT or transformers to load.

    They are links to the store's where the disk can do that, and take no space. Those of another
    training in the same folder go.

    Returns:
        whether there were such.
    """
    product = _files(store.train_folder(train_id))
    names = {path.name for path in product}
    card = store.train_folder(train_id) / "README.md"  # it names every setting
    there = store.root / card.name
    is_other = there.exists() and there.read_bytes() != card.read_bytes()
    for folder in (store.root / "train").iterdir():
        for path in _files(folder):
            if path.name not in names:
                (store.root / path.name).unlink(missing_ok=True)
    for path in product:
        staged = store.root / f".{path.name}.partial"
        staged.unlink(missing_ok=True)
        try:
            os.link(path, staged)
        except OSError:
            shutil.copyfile(path, staged)
        staged.replace(store.root / path.name)
        staged.unlink(missing_ok=True)  # two links to one file are not put in each other's place
    return is_other


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if path.is_file() and _is_product(path.name)]


def _is_product(name: str) -> bool:
    return name not in _OURS and not name.startswith(".")
