"""Adapters on a base model: put on, written as plain PEFT files, taken off without a trace."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoraConfig,
    PeftModel,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file, save
from transformers import PreTrainedModel

from maple.errors import ModelError, nearest
from maple.finetune.disk import write_bytes
from maple.finetune.settings import Settings
from maple.models.adapter_files import BASE_FILE, CONFIG_FILE, WEIGHTS_FILE
from maple.provenance import derive_seed
from maple.records import TrainCell

_ALL_LINEAR = "all-linear"
"""PEFT's word for every linear layer but the vocabulary head."""


def attach(model: PreTrainedModel, settings: Settings) -> PeftModel:
    """Put a fresh LoRA adapter on a base model, in place, and freeze everything else.

    The adapter's weights are float32 whatever the base's precision: with steps of 1e-4 relative
    size, bfloat16 would round most of them away. Initialisation is a pure function of the seed.

    Of what peft's `prepare_model_for_kbit_training` does, freezing is all that is needed here.
    Its float32 copies of norms, embeddings and head would double the memory of a 262k vocabulary
    for nothing: autocast and the norms themselves compute in float32 where it matters. Its input
    hooks serve gradient checkpointing, which is off.

    Raises:
        ModelError: `target_modules` names something that is no linear layer of the model.
    """
    _check_targets(model, settings.target_modules)
    targets = settings.target_modules
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.r,
        # PEFT declares an integer and divides it by r; fractions work as well.
        lora_alpha=_integer_if_whole(settings.lora_alpha),  # type: ignore[arg-type]
        lora_dropout=settings.lora_dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
    )
    # The device's generator as well: PEFT may initialise where the base layer lies.
    torch.manual_seed(derive_seed(settings.seed, "init"))
    with warnings.catch_warnings():
        # PEFT 0.21 reads a property that transformers 5 renamed; nothing a user can act on.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(model, config)


def detach(adapted: PeftModel) -> None:
    """Take an adapter off again: the base is as it was, frozen and in eval mode."""
    model = adapted.unload()
    model.requires_grad_(False)
    model.eval()


def weights(adapted: PeftModel) -> dict[str, torch.Tensor]:
    """The adapter's weights by PEFT's names, float32, on the CPU."""
    # Without `save_embedding_layers=False` PEFT would ask the hub whether the base was resized.
    state: Mapping[str, torch.Tensor] = get_peft_model_state_dict(
        adapted, save_embedding_layers=False
    )
    return {name: tensor.to("cpu", torch.float32).contiguous() for name, tensor in state.items()}


def write_weights(adapted: PeftModel, folder: Path) -> None:
    """Write adapter_model.safetensors, float32."""
    write_bytes(folder / WEIGHTS_FILE, save(weights(adapted), metadata={"format": "pt"}))


def read_weights(adapted: PeftModel, folder: Path) -> None:
    """Load what `write_weights` wrote into the attached adapter."""
    put_weights(adapted, load_file(folder / WEIGHTS_FILE))


def put_weights(adapted: PeftModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Give the attached adapter the weights that `weights` took from it."""
    set_peft_model_state_dict(adapted, dict(weights))


def write_product(adapted: PeftModel, cell: TrainCell, folder: Path) -> int:
    """Write the finished adapter: plain PEFT files and maple.json, the last one last.

    Returns:
        size of the weight file in bytes.
    """
    write_weights(adapted, folder)
    write_bytes(folder / CONFIG_FILE, _json(_config(adapted, cell)))
    origin = {
        "base": cell.base,
        "base_name": cell.base_name,
        "tokenizer": cell.tokenizer,
        "train_bits": cell.train_bits,
    }
    write_bytes(folder / BASE_FILE, _json(origin))
    return (folder / WEIGHTS_FILE).stat().st_size


def _config(adapted: PeftModel, cell: TrainCell) -> dict[str, Any]:
    config: dict[str, Any] = adapted.active_peft_config.to_dict()
    # PEFT holds sets, whose order changes with each process.
    config = {
        name: sorted(value) if isinstance(value, set) else value for name, value in config.items()
    }
    # PEFT would write the local path of the base here.
    return config | {"base_model_name_or_path": cell.base_name, "inference_mode": True}


def _json(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _check_targets(model: PreTrainedModel, targets: str | tuple[str, ...]) -> None:
    """Refuse what PEFT would pass over (a typo beside a name that matches) or stumble upon when
    half of the model already carries the adapter (a module that is no linear layer)."""
    if targets == _ALL_LINEAR:
        return
    if isinstance(targets, str):
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
