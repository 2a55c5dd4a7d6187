"""A train cell's settings, checked and without their None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from maple.errors import MapleError, ModelError, nearest
from maple.records import TrainCell
from maple.study.methods import Method, OptionValue, method

SCHEDULERS = {
    "constant": "constant_with_warmup",
    "cosine": "cosine",
    "linear": "linear",
}
"""Our names of learning-rate schedules and transformers' names of them, warm-up included."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What training needs of a `TrainCell`; field by field the same names and units.

    Attributes:
        method: its row.
        peft: of r, lora_alpha, lora_dropout and target_modules those that the method uses.
        options: what else the cell sets, by PEFT's names.
    """

    method: Method
    peft: Mapping[str, object]
    options: Mapping[str, OptionValue]
    train_bits: int
    epochs: float
    batch_size: int
    learning_rate: float
    scheduler: str
    warmup_ratio: float
    weight_decay: float
    max_grad_norm: float
    max_tokens: int
    seed: int

    @classmethod
    def of(cls, cell: TrainCell) -> Settings:
        """The settings of a cell.

        Raises:
            ModelError: no method or schedule of that name, bits that the method cannot be trained
                in, or a missing field.
        """
        try:
            row = method(cell.method)
        except MapleError as error:
            raise ModelError(f"method: {error.what}", error.hint) from error
        if cell.train_bits is not None and cell.train_bits in row.impossible:
            raise ModelError(
                f"train_bits: {row.name} cannot be trained in {cell.train_bits} bits: "
                f"{row.impossible[cell.train_bits]}",
                f"train it in {', '.join(map(str, row.bits()))} bits",
            )
        peft = {name: getattr(cell, name) for name in row.fields}
        given = {"method", "peft", "options"}
        values = {f.name: getattr(cell, f.name) for f in fields(cls) if f.name not in given}
        missing = [name for name, value in (peft | values).items() if value is None]
        if missing:
            raise ModelError(f"a {row.name} cell needs {', '.join(missing)}: got none")
        if values["scheduler"] not in SCHEDULERS:
            raise ModelError(
                f"scheduler: got {values['scheduler']!r}, expected one of {', '.join(SCHEDULERS)}",
                nearest(values["scheduler"], SCHEDULERS),
            )
        return cls(row, peft, dict(cell.options or ()), **values)
