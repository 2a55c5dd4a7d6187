"""One adapter at a time on a loaded base, unmerged, and the bare base again without a trace."""

from __future__ import annotations

import warnings
from collections.abc import Set
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.ia3 import IA3Layer
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from maple.errors import ModelError
from maple.models.adapter_files import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_adapter,
    is_part,
    stamp,
    weight_shapes,
)
from maple.models.loading import Loaded
from maple.study.methods import METHODS

_ABOUT = ("base_model_name_or_path", "inference_mode", "peft_version", "revision")
"""Fields of an adapter's configuration that say nothing about its modules."""

_HARMLESS = (True, False, "gaussian", "orthogonal", "eva")
"""LoRA initialisations that leave the base's weights alone."""


class AdapterSlot:
    """The place on a base model where one adapter can sit.

    The base is changed in place, so `loaded.model` answers through whatever `use` was given last.

    Attributes:
        serial: rises by one with every change, so that caches can tell what they belong to.
    """

    def __init__(self, loaded: Loaded) -> None:
        """
        Raises:
            RuntimeError: an adapter is on the base that this slot would not know of.
        """
        if any(isinstance(module, BaseTunerLayer) for module in loaded.model.modules()):
            raise RuntimeError("an adapter is already on this base; clear its slot first")
        self.serial = 0
        self._loaded = loaded
        self._bare = Tree(loaded.model)
        self._tuned: PeftModel | None = None
        self._current: tuple[object, ...] | None = None

    def use(self, folder: Path | None) -> None:
        """Answer through the adapter in `folder`, or through the bare base.

        The adapter stays unmerged: merging into a quantised base would round it away. Its
        weights take the compute dtype. An adapter that is already in place is not read again.

        Raises:
            ModelError: missing or broken files, another base, or a kind of adapter that is not
                part of the network (prompt tuning) or changes the base's own weights (PiSSA).
        """
        wanted = None if folder is None else stamp(folder)
        if wanted == self._current:
            return
        if folder is None:
            self.clear()
        else:
            self._attach(folder)
        self._current = wanted

    def clear(self) -> None:
        """Take the adapter out, also one that training left behind; the base is as loaded."""
        self._tuned = None
        self._current = None
        self.serial += 1
        self._bare.restore()
        restore(self._loaded.model)

    def _attach(self, folder: Path) -> None:
        check_adapter(folder, self._loaded.base)
        config = _config(folder)
        _check_bits(folder, config, self._loaded.bits)
        if self._tuned is not None and _refilled(self._tuned, config, folder):
            self.serial += 1
            return
        self.clear()
        try:
            lean = isinstance(config, LoraConfig)
            self._tuned = _attached(self._loaded, folder, self._bare.tensors, lean)
        except ModelError:
            self.clear()
            raise


class Tree:
    """Which modules, parameters and buffers a model consists of.

    Attributes:
        tensors: `id`s of the parameters and buffers, which live as long as this object.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parts = [
            (module, name, part)
            for module in model.modules()
            for parts in (
                module.named_children(),
                module.named_parameters(recurse=False),
                module.named_buffers(recurse=False),
            )
            for name, part in parts
        ]
        self.tensors: Set[int] = frozenset(
            id(part) for _, _, part in self._parts if isinstance(part, torch.Tensor)
        )
        self._model = model

    def restore(self) -> None:
        """Put every one back in its place, whatever PEFT put there.

        PEFT's own `unload` leaves what an adapter brought beside its own matrices: heads,
        embeddings, biases. It refuses to take (IA)³ off quantised layers.
        """
        if hasattr(self._model, "peft_config"):
            del self._model.peft_config
        for module, name, part in self._parts:
            if getattr(module, name) is not part:
                setattr(module, name, part)


def restore(model: PreTrainedModel) -> None:
    """Put a base without adapters back into the state in which `load` left it."""
    model.requires_grad_(requires_grad=False)
    model.eval()  # type: ignore[no-untyped-call]


def keep_dtypes(model: nn.Module) -> None:
    """Let (IA)³ on quantised layers give what it was given.

    PEFT 0.21 converts their input to float32 where no CUDA autocast is on, and leaves the output
    there: everything behind would run in float32 until a layer refuses it.
    """
    for module in model.modules():
        if isinstance(module, IA3Layer) and type(module).__name__ in ("Linear4bit", "Linear8bitLt"):
            module.register_forward_hook(_as_given)


def _as_given(
    _module: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor
) -> torch.Tensor:
    return out.to(given[0].dtype)


def _config(folder: Path) -> PeftConfig:
    try:
        config: PeftConfig = PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"adapter {folder}: {CONFIG_FILE} is broken: {error}") from error
    if config.is_prompt_learning:
        raise ModelError(
            f"adapter {folder}: {config.peft_type} adds tokens to the prompt",
            "only adapters inside the network are evaluated (LoRA and its kin)",
        )
    start = getattr(config, "init_lora_weights", True)
    if start not in _HARMLESS:
        raise ModelError(
            f"adapter {folder}: init_lora_weights = {start!r} changes the base's own weights",
            "save it as plain LoRA: save_pretrained(.., path_initial_model_for_weight_conversion=)",
        )
    return config


def _check_bits(folder: Path, config: PeftConfig, bits: int) -> None:
    """Raises ModelError for a method that PEFT cannot do on a base of so many bits."""
    for row in METHODS.values():
        same = type(config).__name__ == row.config and bits in row.impossible
        if same and all(getattr(config, name) == value for name, value in row.fixed.items()):
            raise ModelError(
                f"adapter {folder}: {row.label} does not work on a base in {bits} bits: "
                f"{row.impossible[bits]}",
                "choose other bits",
            )


def _refilled(tuned: PeftModel, config: PeftConfig, folder: Path) -> bool:
    """Put the weights in `folder` into the modules of an adapter of the same make.

    Making new modules takes seven times as long. Where anything but the values differs, nothing is
    changed, and the answer is no.
    """
    if type(config) is not type(tuned.active_peft_config):
        return False
    if _make(config) != _make(tuned.active_peft_config):
        return False
    weights = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    if not all(is_part(name) for name in weights):
        return False  # heads and biases beside the adapter may be the base's own
    if weight_shapes(folder) != {name: tuple(weight.shape) for name, weight in weights.items()}:
        return False
    for name, values in load_file(folder / WEIGHTS_FILE).items():
        weights[name].copy_(values)
    return True


def _make(config: PeftConfig) -> dict[str, object]:
    return {name: value for name, value in config.to_dict().items() if name not in _ABOUT}


def _devices(model: PreTrainedModel) -> list[torch.device]:
    """Those beside the CPU whose random numbers a model could draw."""
    return [] if model.device.type == "cpu" else [model.device]


def _attached(loaded: Loaded, folder: Path, own: Set[int], lean: bool) -> PeftModel:
    """The adapter in its place; `own` are the `id`s of the base's parameters and buffers."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            # Without random initialisation, which takes time. PEFT 0.21 cannot do that for the
            # layers of other methods on a base in 8 bits.
            with torch.random.fork_rng(_devices(loaded.model)):
                tuned = PeftModel.from_pretrained(
                    loaded.model,
                    folder,
                    is_trainable=False,
                    autocast_adapter_dtype=False,
                    low_cpu_mem_usage=lean,
                )
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            raise ModelError(f"adapter {folder}: cannot be loaded: {error}") from error
    known = get_peft_model_state_dict(tuned, save_embedding_layers=False).keys()
    unused = [name for name in weight_shapes(folder) if is_part(name) and name not in known]
    if unused:
        raise ModelError(
            f"adapter {folder}: {CONFIG_FILE} does not name the modules of {len(unused)} tensors "
            f"in {WEIGHTS_FILE}, such as {unused[0]}",
            "the two files are of different adapters; copy both from the same folder",
        )
    missing = [str(warning.message) for warning in caught if "missing" in str(warning.message)]
    if missing:
        raise ModelError(f"adapter {folder}: {missing[0][:300]}")
    # Stored in float32 mostly; they run in the compute dtype of the base.
    for tensor in (*tuned.parameters(), *tuned.buffers()):
        if id(tensor) not in own and tensor.is_floating_point():
            tensor.data = tensor.data.to(loaded.compute_dtype)
    keep_dtypes(tuned)
    restore(loaded.model)
    return tuned
