"""What a study calls a base model, resolved to files and an identity.

Four kinds of name: `scripted:NAME` (no files), `demo:NAME` and `*.gguf` (converted once), a local
folder in transformers' layout, and a hub id `org/name[@revision]`. The plan stage runs this, so
neither torch nor transformers is imported here.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path

from maple.errors import ModelError, nearest
from maple.models.hashing import TOKENIZER_FILES, files_identity, names_in, text_identity
from maple.records import BaseModel

SCRIPTED = "scripted:"
"""Prefix of the names of bases that make their answers up."""

SCRIPTED_NAMES = ("hash",)
"""Names after it; see `maple.models.scripted`."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_BITS_OF_METHOD = {"fp8": 8, "fbgemm_fp8": 8, "mxfp4": 4, "bitnet": 2}


def resolve(name: str, *, weights: bool = True) -> BaseModel:
    """The base model that `name` stands for, with its files on this machine.

    Args:
        name: `scripted:NAME`, `demo:NAME`, a `.gguf` file, a folder, or a hub id
            `org/name[@revision]`. A name with exactly one "/" that is no existing path is a hub id.
        weights: of a hub model must be here, too, and are fetched; a plan does without.

    Returns:
        The base with a content hash or a resolved commit; its weights are downloaded and, for
        GGUF, converted to bfloat16 in transformers' layout.

    Raises:
        ModelError: nothing of that name, no network, no access, a package that is not
            installed, files in a format that is not loaded (pickle, remote code), or a broken file.
    """
    if _is_hub_id(name):
        return _from_hub(name, weights=weights)
    kind, _, rest = name.partition(":")
    if kind == "scripted":
        return _scripted(name, rest)
    if kind == "demo":
        from maple.models.gguf_files import from_demo

        return from_demo(name)
    return _from_path(name)


def _is_hub_id(name: str) -> bool:
    if not _HUB_ID.fullmatch(name) or name.endswith(".gguf"):
        return False
    return not Path(name).exists()


def _scripted(name: str, script: str) -> BaseModel:
    if script not in SCRIPTED_NAMES:
        raise ModelError(f"base model {name!r}: no such script", nearest(script, SCRIPTED_NAMES))
    identity = text_identity(name)
    return BaseModel(name, identity=identity, tokenizer=identity, source_precision=None, path="")


def _from_hub(name: str, *, weights: bool) -> BaseModel:
    from maple.models.hub import snapshot

    hub_id, _, revision = name.partition("@")
    folder, commit = snapshot(hub_id, revision or None, weights=weights)
    config = check_layout(folder, name, weights=weights)
    return BaseModel(
        name=name,
        identity=f"hub:{hub_id}@{commit}",
        tokenizer=files_identity(folder, TOKENIZER_FILES),
        source_precision=published_bits(config, name),
        path=str(folder),
    )


def _from_path(name: str) -> BaseModel:
    path = Path(name).expanduser()
    if not path.exists():
        raise ModelError(
            f"base model {name!r}: no such file or folder",
            "a hub id reads org/name, the packaged models demo:gemma-3-270m and demo:smollm2-135m",
        )
    path = path.resolve()
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelError(
                f"base model {name!r}: a single file must be a .gguf file",
                "name the folder that holds config.json",
            )
        from maple.models.gguf_files import from_gguf

        return from_gguf(name, path)
    config = check_layout(path, name)
    weights = [weight.name for weight in path.glob("*.safetensors")]
    index = ["model.safetensors.index.json", "config.json", "generation_config.json"]
    return BaseModel(
        name=name,
        identity=files_identity(path, {*weights, *index, *TOKENIZER_FILES}),
        tokenizer=files_identity(path, TOKENIZER_FILES),
        source_precision=published_bits(config, name),
        path=str(path),
    )


def check_layout(folder: Path, name: str, *, weights: bool = True) -> Mapping[str, object]:
    """The config.json of a folder in transformers' layout, after checking that it can be loaded.

    Raises:
        ModelError: no or broken config.json, no safetensors weights, no tokenizer, or a model
            that needs remote code.
    """
    config = read_json(folder / "config.json", name)
    if weights and not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"base model {name!r}: no .safetensors weights in {folder}",
            "pickled weights (*.bin, *.pt) are never loaded; convert them to safetensors first",
        )
    if not names_in(folder, ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelError(f"base model {name!r}: no tokenizer files in {folder}")
    if config.get("auto_map") and not _is_native(str(config.get("model_type", ""))):
        raise ModelError(
            f"base model {name!r}: config.json asks for Python code from the model's folder "
            f"(auto_map), which is never run",
            "choose a model whose architecture transformers itself provides",
        )
    return config


def _is_native(model_type: str) -> bool:
    """Whether transformers has the architecture; looked up on disk, as importing it is slow."""
    spec = importlib.util.find_spec("transformers")
    roots = (spec.submodule_search_locations if spec else None) or []
    module = model_type.replace("-", "_")
    return bool(module) and any((Path(root) / "models" / module).is_dir() for root in roots)


def read_json(path: Path, name: str) -> dict[str, object]:
    """The JSON object in a file of base model or adapter `name`.

    Raises:
        ModelError: the file is missing or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{name!r}: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{name!r}: {path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{name!r}: {path} holds no JSON object")
    return content


def published_bits(config: Mapping[str, object], name: str) -> int | None:
    """Bits of the weights where the model was published quantised; None where it was not.

    Raises:
        ModelError: quantised by a method whose bits are unknown here.
    """
    quantisation = config.get("quantization_config")
    if not isinstance(quantisation, dict):
        return None
    if quantisation.get("load_in_4bit"):
        return 4
    if quantisation.get("load_in_8bit"):
        return 8
    bits = quantisation.get("bits", _BITS_OF_METHOD.get(str(quantisation.get("quant_method"))))
    if not isinstance(bits, int):
        raise ModelError(
            f"base model {name!r}: published quantised as {quantisation.get('quant_method')!r}, "
            "whose bits are not known here",
            "choose the unquantised release of the model",
        )
    return bits
