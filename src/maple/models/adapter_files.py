"""Adapter folders as files: which base they were trained on, and whether they fit one.

An adapter that MAPLE trained carries `maple.json` beside PEFT's two files. Others are checked by
the shapes in their weight file. No torch: the plan stage asks before anything is loaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from maple.errors import ModelError
from maple.models.files import read_json
from maple.prompts.training import BUILTIN
from maple.records import BaseModel

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
BASE_FILE = "maple.json"

_PREFIXES = ("lora_", "hada_", "lokr_", "ia3_", "vera_")
"""How PEFT begins the names of an adapter's own tensors."""

_RANKS = {
    ".lora_A.": 0,
    ".hada_w1_b": 0,
    ".hada_w2_b": 0,
    ".lokr_w2_b": 0,
    ".vera_lambda_d": 0,
}
"""Axis that is as long as the rank, by part of a tensor's name."""

_OUT, _IN = 0, 1
_WIDTHS = (
    ("lora_A.weight", 1, _IN),
    ("lora_B.weight", 0, _OUT),
    ("lora_magnitude_vector", 0, _OUT),
    ("hada_w1_a", 0, _OUT),
    ("hada_w1_b", 1, _IN),
    ("hada_w2_a", 0, _OUT),
    ("hada_w2_b", 1, _IN),
    ("ia3_l", 0, _OUT),
    ("ia3_l", 1, _IN),
    ("vera_lambda_b", 0, _OUT),
    # The widths of LoKr's two factors multiply; each is one matrix, or two of a rank.
    *((f"lokr_w{factor}{end}", 0, _OUT) for factor in "12" for end in ("", "_a")),
    *((f"lokr_w{factor}{end}", 1, _IN) for factor in "12" for end in ("", "_b")),
)
"""(name, axis, side): which axis of a tensor is as long as the output or input of its module."""


def is_part(name: str) -> bool:
    """Whether a tensor is an adapter's own, not a head or a bias that was trained beside it."""
    return any(f".{prefix}" in name for prefix in _PREFIXES)


def write_base(folder: Path, base: str, tokenizer: str, base_name: str) -> None:
    """Note beside an adapter which base it belongs to.

    Args:
        folder: the adapter's folder.
        base: identity of the base model, as in `BaseModel.identity`.
        tokenizer: as in `BaseModel.tokenizer`.
        base_name: as the study names it; for readers only.
    """
    note = {"base": base, "base_name": base_name, "tokenizer": tokenizer}
    (folder / BASE_FILE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def template_of(folder: Path, name: str | None) -> dict[str, str] | None:
    """The training template of an adapter that is its study's own, as a study states it.

    Args:
        name: of the template that is wanted.

    Returns:
        None where that is another one, or one that ships with the program.

    Raises:
        ModelError: `maple.json` cannot be read.
    """
    if name is None or name in BUILTIN or not (folder / BASE_FILE).is_file():
        return None
    found = read_json(folder / BASE_FILE, f"adapter {folder}").get("template")
    if not isinstance(found, dict) or found.get("name") != name:
        return None
    return {key: str(text) for key, text in found.items() if key != "hash"}


def stamp(folder: Path) -> tuple[object, ...]:
    """What tells an adapter folder from another one, and from itself after training again.

    Raises:
        ModelError: one of PEFT's two files is not there.
    """
    stamp: list[object] = [folder.resolve()]
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        path = folder / name
        if not path.is_file():
            raise ModelError(f"adapter {folder}: no {name}", "train it first, or check the path")
        stat = path.stat()
        stamp += [stat.st_mtime_ns, stat.st_size]
    return tuple(stamp)


def check_adapter(folder: Path, base: BaseModel) -> None:
    """Refuse an adapter that does not belong to `base`.

    Raises:
        ModelError: PEFT's files are missing or unreadable, `maple.json` names another base or
            tokenizer, or (without one) the tensors do not fit the base.
    """
    config = read_json(folder / CONFIG_FILE, f"adapter {folder}")
    if not isinstance(config.get("peft_type"), str):
        raise ModelError(
            f"adapter {folder}: {CONFIG_FILE} names no peft_type",
            "expected the files that PEFT's save_pretrained writes",
        )
    shapes = weight_shapes(folder)
    _check_rank(folder, config, shapes)
    if (folder / BASE_FILE).is_file():
        check_origin(folder, base)
    elif base.path:
        _check_shapes(folder, shapes, base)


def check_origin(folder: Path, base: BaseModel) -> None:
    """Refuse what was trained on another base than `base`, an adapter or a whole model.

    Raises:
        ModelError: `maple.json` is missing or names another base or tokenizer.
    """
    note = read_json(folder / BASE_FILE, f"adapter {folder}")
    if note.get("base") != base.identity or note.get("tokenizer") != base.tokenizer:
        raise ModelError(
            f"adapter {folder}: trained on {note.get('base_name')!r} ({note.get('base')}), "
            f"asked to run on {base.name!r} ({base.identity})",
            "train it again on this base, or evaluate it on its own",
        )


def weight_bytes(folder: Path) -> int:
    """Size of the weight files in a folder, of an adapter or of a whole model; 0 without any."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of an adapter, read from the file's header.

    Raises:
        ModelError: missing or not a safetensors file, or numbers that are not floating-point.
    """
    path = folder / WEIGHTS_FILE
    try:
        with safe_open(path, framework="numpy") as tensors:
            found = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - no mapping
            for name, tensor in found.items():
                if not tensor.get_dtype().startswith(("F", "BF")):
                    raise ModelError(
                        f"adapter {folder}: {name} holds numbers of type {tensor.get_dtype()}, "
                        "expected floating point",
                        "save the adapter as PEFT does, without quantising it",
                    )
            return {name: tuple(tensor.get_shape()) for name, tensor in found.items()}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"adapter {folder}: cannot read {path.name}: {error}") from error


def _check_rank(
    folder: Path, config: Mapping[str, object], shapes: dict[str, tuple[int, ...]]
) -> None:
    """The rank that the configuration states is the one of the matrices."""
    if config.get("rank_pattern") or "r" not in config:
        return
    for name, shape in shapes.items():
        axis = next((axis for part, axis in _RANKS.items() if part in name), None)
        if axis is not None and shape[axis] != config["r"]:
            raise ModelError(
                f"adapter {folder}: {CONFIG_FILE} says r = {config['r']}, but {name} in "
                f"{WEIGHTS_FILE} has {shape[axis]} {'rows' if axis == 0 else 'columns'}",
                "the two files are of different adapters; copy both from the same folder",
            )


def _check_shapes(folder: Path, shapes: dict[str, tuple[int, ...]], base: BaseModel) -> None:
    """The tensors of a module must have the input and output width of the base's."""
    wanted = module_shapes(Path(base.path))
    factors: dict[tuple[str, int], dict[str, int]] = {}
    for name, shape in shapes.items():
        module, part = _taken_apart(name)
        for kind, axis, side in _WIDTHS:
            if part != kind:
                continue
            if module not in wanted:
                raise ModelError(f"adapter {folder}: {base.name!r} has no module {module!r}")
            if kind.startswith("lokr_"):
                factors.setdefault((module, side), {})[name] = shape[axis]
            elif shape[axis] != 1 or kind != "ia3_l":  # which scales one side, and is 1 wide there
                _check_width(folder, name, shape[axis], module, wanted[module][side], base)
    for (module, side), found in factors.items():
        width = math.prod(found.values())
        _check_width(folder, min(found), width, module, wanted[module][side], base)


def _check_width(
    folder: Path, name: str, found: int, module: str, expected: int, base: BaseModel
) -> None:
    if found != expected:
        raise ModelError(
            f"adapter {folder}: {name} has width {found}, "
            f"but {module!r} of {base.name!r} has {expected}"
        )


def _taken_apart(name: str) -> tuple[str, str]:
    """The base's module that a tensor belongs to, and what PEFT calls the tensor."""
    for prefix in _PREFIXES:
        module, found, rest = name.removeprefix("base_model.model.").partition(f".{prefix}")
        if found:
            return module, prefix + rest
    return name, ""


def module_shapes(folder: Path) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of each matrix of the base, by module name, a tied head included."""
    found = {
        name.removesuffix(".weight"): (shape[0], shape[1])
        for name, shape in _base_shapes(folder)
        if len(shape) == 2
    }
    embedding = next((name for name in found if name.endswith("embed_tokens")), None)
    if embedding is not None:
        found.setdefault("lm_head", found[embedding])
    return found


def weight_values(folder: Path) -> int:
    """Numbers in the weight files of a base; those of a tied head once."""
    return sum(math.prod(shape) for _, shape in _base_shapes(folder))


def _base_shapes(folder: Path) -> Iterator[tuple[str, Sequence[int]]]:
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as tensors:
                for name in tensors.keys():  # noqa: SIM118 - not a mapping
                    yield name, tensors.get_slice(name).get_shape()
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: cannot be read: {error}", "fetch the model again") from error
