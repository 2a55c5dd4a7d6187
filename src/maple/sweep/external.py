"""Adapters that were trained elsewhere, brought into a store as finished train cells."""

from __future__ import annotations

from pathlib import Path

from maple import provenance
from maple.models.adapter_files import CONFIG_FILE, WEIGHTS_FILE, check_adapter
from maple.models.hashing import file_sha256
from maple.records import BaseModel, TrainCell
from maple.store import Record, Store
from maple.store.files import write_bytes
from maple.study.identity import content_hash

_FILES = (CONFIG_FILE, WEIGHTS_FILE)

METHOD = "adapter"
"""The method of a train cell that was not trained here."""


def adapter_cell(base: BaseModel, folder: Path) -> TrainCell:
    """The train cell that stands for an adapter folder, named by the folder's content.

    Raises:
        ModelError: not an adapter, unreadable, or an adapter of another base.
    """
    check_adapter(folder, base)
    hashes = {name: file_sha256(folder / name) for name in _FILES}
    return TrainCell(
        base_name=base.name,
        base=base.identity,
        tokenizer=base.tokenizer,
        method=METHOD,
        source=str(folder),
        data=content_hash(hashes),
    )


def bring_in(store: Store, train_id: str, cell: TrainCell, folder: Path) -> None:
    """Copy the adapter's files into the store and record the cell as done."""
    now = provenance.utc_now()
    for name in _FILES:
        write_bytes(store.train_folder(train_id) / name, (folder / name).read_bytes())
    store.put_record(
        Record(
            kind="train",
            id=train_id,
            status="done",
            cell=cell,
            started=now,
            finished=now,
            provenance=provenance.provenance(),
        )
    )
