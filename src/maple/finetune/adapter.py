"""Adapters on a base model: put on, written as plain PEFT files, taken off without a trace."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftConfig, PeftModel, TaskType, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save
from transformers import PreTrainedModel

from maple.errors import ModelError, nearest
from maple.finetune import differences
from maple.finetune.disk import write_bytes
from maple.finetune.settings import Settings
from maple.models.adapter_files import BASE_FILE, CONFIG_FILE, WEIGHTS_FILE
from maple.models.adapters import Tree, keep_dtypes, restore
from maple.models.loading import Loaded
from maple.provenance import derive_seed
from maple.records import TrainCell

_ALL_LINEAR = "all-linear"
"""PEFT's word for every linear layer but the vocabulary head."""


class Adapter:
    """A fresh adapter on a base, which is frozen.

    The adapter's weights are float32 whatever the base's precision: with steps of 1e-4 relative
    size, bfloat16 would round most of them away. Initialisation is a pure function of the seed.

    Of what peft's `prepare_model_for_kbit_training` does, freezing is all that is needed here.
    Its float32 copies of norms, embeddings and head would double the memory of a 262k vocabulary
    for nothing: autocast and the norms themselves compute in float32 where it matters. Its input
    hooks serve a kind of gradient checkpointing that is not used.
    """

    def __init__(self, loaded: Loaded, settings: Settings) -> None:
        """
        Raises:
            ModelError: `target_modules` names something that is no linear layer of the model, or
                PEFT refuses the method on one; the base is as it was.
        """
        self.model = loaded.model
        self._bare = Tree(loaded.model)
        _check_targets(loaded.model, settings.peft.get("target_modules"))
        # The device's generator as well: PEFT may initialise where the base layer lies.
        torch.manual_seed(derive_seed(settings.seed, "init"))
        try:
            self._adapted = _adapted(loaded.model, _config(loaded.model, settings))
            _name_feedforward(self._adapted.active_peft_config)
            if settings.method.decomposition is not None:
                differences.start(loaded.model, settings)
        except (ModelError, ValueError, TypeError, RuntimeError) as error:
            self.detach()
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{settings.method.name} cannot be put on: {error}") from error
        keep_dtypes(loaded.model)
        for module in loaded.model.modules():
            # PEFT would cast the input of each adapted layer up to the adapter's float32, and
            # autocast straight back to bfloat16: two passes over all activations for nothing.
            if isinstance(module, BaseTunerLayer):
                vars(module)["cast_input_dtype_enabled"] = settings.train_bits == 32

    def write_product(self, cell: TrainCell, texts: Mapping[str, str], folder: Path) -> int:
        """See `Tuned`: plain PEFT files and maple.json."""
        differences.finish(self.model)
        # Without `save_embedding_layers=False` PEFT would ask the hub whether the base was resized.
        state: Mapping[str, torch.Tensor] = get_peft_model_state_dict(
            self._adapted, save_embedding_layers=False
        )
        weights = {
            name: tensor.to("cpu", torch.float32).contiguous() for name, tensor in state.items()
        }
        content = save(weights, metadata={"format": "pt"})
        write_bytes(folder / WEIGHTS_FILE, content)
        write_bytes(folder / CONFIG_FILE, to_json(_written(self._adapted, cell)))
        write_bytes(folder / BASE_FILE, to_json(origin(cell, texts)))
        return len(content)

    def detach(self) -> None:
        """See `Tuned`."""
        self._bare.restore()
        restore(self.model)


def origin(cell: TrainCell, texts: Mapping[str, str]) -> dict[str, object]:
    """What maple.json says about a product; `texts` are of the cell's template."""
    return {
        "base": cell.base,
        "base_name": cell.base_name,
        "tokenizer": cell.tokenizer,
        "train_bits": cell.train_bits,
        "template": {"name": cell.template_name, "hash": cell.template, **texts},
    }


def to_json(content: Mapping[str, object]) -> bytes:
    """A file's content."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _config(model: PreTrainedModel, settings: Settings) -> PeftConfig:
    row = settings.method
    assert row.config is not None  # noqa: S101  only such methods come here
    values: dict[str, Any] = {row.fields[key]: value for key, value in settings.peft.items()}
    values |= {**row.fixed, **settings.options}
    targets = values["target_modules"]
    values["target_modules"] = targets if isinstance(targets, str) else list(targets)
    if row.decomposition is not None:
        values |= _doubled(values)
    for name in {"lora_alpha", "alpha"} & values.keys():
        # PEFT declares an integer and divides it by r; fractions work as well.
        values[name] = _integer_if_whole(values[name])
    if row.feedforward:
        # PEFT would look the family up in a table that lacks new ones.
        values["feedforward_modules"] = _named(model, row.feedforward, targets)
    if row.seeded is not None:
        values.setdefault(row.seeded, derive_seed(settings.seed, row.seeded))
    config: PeftConfig = getattr(peft, row.config)(task_type=TaskType.CAUSAL_LM, **values)
    return config


def _doubled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of an adapter that is a difference to its start: twice the rank at the same scale."""
    r, alpha = values["r"], values["lora_alpha"]
    scale = alpha / (math.sqrt(r) if values.get("use_rslora") else r)
    return {
        "r": 2 * r,
        "lora_alpha": scale * 2 * r,
        "use_rslora": False,
        "init_lora_weights": True,
    }


def _named(
    model: PreTrainedModel, names: tuple[str, ...], targets: str | tuple[str, ...]
) -> list[str]:
    """Those of `names` that the model has and that are adapted."""
    there = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    return [name for name in names if name in there and (targets == _ALL_LINEAR or name in targets)]


def _name_feedforward(config: Any) -> None:
    """Name them as `target_modules` does now that PEFT has written "all-linear" out.

    PEFT reads a configuration only where the ones are among the others.
    """
    if getattr(config, "feedforward_modules", None):
        config.feedforward_modules = {
            target
            for target in config.target_modules
            if any(f".{target}".endswith(f".{name}") for name in config.feedforward_modules)
        }


def _adapted(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    with warnings.catch_warnings():
        # PEFT 0.21 reads a property that transformers 5 renamed; nothing a user can act on.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(model, config)


def _written(adapted: PeftModel, cell: TrainCell) -> dict[str, Any]:
    """What adapter_config.json says."""
    config: dict[str, Any] = adapted.active_peft_config.to_dict()
    # PEFT holds sets, whose order changes with each process.
    config = {
        name: sorted(value) if isinstance(value, set) else value for name, value in config.items()
    }
    # PEFT would write the local path of the base here.
    return config | {"base_model_name_or_path": cell.base_name, "inference_mode": True}


def _check_targets(model: PreTrainedModel, targets: object) -> None:
    """Refuse what PEFT would pass over (a typo beside a name that matches) or stumble upon when
    half of the model already carries the adapter (a module that is no linear layer)."""
    if targets == _ALL_LINEAR:
        return
    if not isinstance(targets, tuple):
        raise ModelError(
            f"target_modules: got {targets!r}, expected {_ALL_LINEAR!r} or a list of module names"
        )
    modules = dict(model.named_modules())
    linear = {name for name, module in modules.items() if isinstance(module, torch.nn.Linear)}
    for target in targets:
        found = {name for name in modules if f".{name}".endswith(f".{target}")}
        if not found or found - linear:
            raise ModelError(
                f"target_modules: {target!r} is no linear layer of the base model",
                nearest(target, {name.rpartition(".")[2] for name in linear}),
            )


def _integer_if_whole(value: float) -> float:
    return int(value) if value == int(value) else value
