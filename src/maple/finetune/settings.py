"""A train cell's settings, checked and without their None."""

from __future__ import annotations

from dataclasses import dataclass, fields

from maple.errors import ModelError, nearest
from maple.records import TrainCell

METHODS = ("lora",)
SCHEDULERS = {
    "constant": "constant_with_warmup",
    "cosine": "cosine",
    "linear": "linear",
}
"""Our names of learning-rate schedules and transformers' names of them, warm-up included."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What training needs of a `TrainCell`; field by field the same names and units."""

    r: int
    lora_alpha: float
    lora_dropout: float
    target_modules: str | tuple[str, ...]
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
            ModelError: a method or schedule that this version does not train, or a missing field.
        """
        if cell.method not in METHODS:
            raise ModelError(
                f"method: got {cell.method!r}, this version trains {', '.join(METHODS)}",
                nearest(cell.method, METHODS),
            )
        values = {field.name: getattr(cell, field.name) for field in fields(cls)}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise ModelError(f"a lora cell needs {', '.join(missing)}: got none")
        if values["scheduler"] not in SCHEDULERS:
            raise ModelError(
                f"scheduler: got {values['scheduler']!r}, expected one of {', '.join(SCHEDULERS)}",
                nearest(values["scheduler"], SCHEDULERS),
            )
        return cls(**values)
