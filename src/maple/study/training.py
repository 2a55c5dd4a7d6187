"""What a study says about its methods, against what each of them can do."""

from __future__ import annotations

from collections.abc import Iterator

from maple.errors import MapleError, nearest
from maple.study.config import EvaluateSection, TrainSection
from maple.study.methods import METHODS, OptionValue
from maple.study.parsing import missing


def bind_methods(train: TrainSection, where: str) -> tuple[TrainSection, list[MapleError]]:
    """The section with its options in canonical form, and all that its methods cannot do.

    Args:
        where: names the study file in messages.
    """
    problems = [*_missing(train, where), *_tables(train, where)]
    options: dict[str, dict[str, OptionValue]] = {}
    for name in train.options.keys() & set(train.methods):
        found, wrong = METHODS[name].checked(train.options[name])
        options[name] = dict(found)
        problems += [
            MapleError(f"{where}: train.options.{name}.{key}: {error.what}", error.hint)
            for key, error in wrong.items()
        ]
    problems += _impossible(train, where)
    return train.model_copy(update={"options": options}), problems


def _missing(train: TrainSection, where: str) -> Iterator[MapleError]:
    for key in ("r", "lora_alpha"):
        if getattr(train, key) is None and any(METHODS[name].uses(key) for name in train.methods):
            yield missing(where, f"train.{key}")


def _tables(train: TrainSection, where: str) -> Iterator[MapleError]:
    """Keys that are stated by method name methods of this study, `train_bits` all of them."""
    for key in ("options", "learning_rate", "train_bits"):
        table = getattr(train, key)
        if not isinstance(table, dict):
            continue
        for name in table:
            if name not in train.methods:
                yield MapleError(
                    f"{where}: train.{key}.{name}: is none of this study's methods",
                    nearest(name, train.methods),
                )
    if isinstance(train.train_bits, dict):
        for name in train.methods:
            if name not in train.train_bits:
                yield MapleError(
                    f"{where}: train.train_bits: is stated by method, but not for {name}",
                    f"add {name} = {list(METHODS[name].bits())}",
                )


def _impossible(train: TrainSection, where: str) -> Iterator[MapleError]:
    for name in train.methods:
        if isinstance(train.train_bits, dict) and name not in train.train_bits:
            continue
        row = METHODS[name]
        for bits in train.bits(name):
            if bits in row.impossible:
                yield MapleError(
                    f"{where}: train.train_bits: {name} cannot be trained in {bits} bits: "
                    f"{row.impossible[bits]}",
                    "leave the pair out: state train_bits by method, such as "
                    f"train_bits = {{ {name} = {list(row.bits())}, ... }}",
                )


def unanswerable(
    train: TrainSection, evaluate: EvaluateSection, where: str
) -> Iterator[MapleError]:
    """Adapters that could be trained, but not evaluated as the study asks."""
    bits = [] if evaluate.eval_bits == "as trained" else evaluate.eval_bits
    for name in train.methods:
        row = METHODS[name]
        for found in bits if row.config else []:
            if found in row.impossible:
                yield MapleError(
                    f"{where}: evaluate.eval_bits: {name} cannot be evaluated in {found} bits: "
                    f"{row.impossible[found]}",
                    f"evaluate {name} in a study of its own",
                )
        if evaluate.server is not None and not row.served:
            yield MapleError(
                f"{where}: evaluate.server: vLLM takes plain LoRA adapters only, no {name}",
                "leave [evaluate.server] out, or the method",
            )
