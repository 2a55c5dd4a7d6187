"""What is trained: parts put on a loaded base, kept in checkpoints, written out, taken off."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from maple.finetune import adapter, full
from maple.finetune.disk import write_bytes
from maple.finetune.settings import Settings
from maple.models.loading import Loaded
from maple.records import TrainCell

_CHECKPOINT_FILE = "trained.safetensors"


class Tuned(Protocol):
    """A base in training, whatever of it is trained: its parameters that take gradients."""

    model: PreTrainedModel
    """The base, changed in place."""

    def write_product(self, cell: TrainCell, texts: Mapping[str, str], folder: Path) -> int:
        """Write what was trained, maple.json last; no step can follow.

        Args:
            texts: of the cell's template.

        Returns:
            size of the weight files in bytes.
        """
        ...

    def detach(self) -> None:
        """Take everything off again: the base is as `load` left it, bit for bit."""
        ...


def attach(loaded: Loaded, settings: Settings) -> Tuned:
    """Make a base trainable by a method, in place; a pure function of base and settings.

    Raises:
        ModelError: the method cannot be put on this base; the base is as it was.
    """
    if settings.method.config is None:
        return full.Full(loaded)
    return adapter.Adapter(loaded, settings)


def write_weights(model: PreTrainedModel, folder: Path) -> None:
    """Write everything that training has changed, and the frozen starts it is a difference to."""
    write_bytes(folder / _CHECKPOINT_FILE, save(weights(model)))


def read_weights(model: PreTrainedModel, folder: Path) -> None:
    """Load what `write_weights` wrote into the same base under the same method."""
    put_weights(model, load_file(folder / _CHECKPOINT_FILE))


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A copy, on the CPU, of everything that training changes and its frozen starts.

    Of shards every process takes its part in putting them together.
    """
    return {
        name: _whole(part.detach()).cpu().clone(memory_format=torch.contiguous_format)
        for name, part in _trained(model).items()
    }


@torch.no_grad()
def put_weights(model: PreTrainedModel, values: Mapping[str, torch.Tensor]) -> None:
    """Give the same base under the same method what `weights` took from it."""
    for name, part in _trained(model).items():
        part.copy_(values[name])


def unshard(model: torch.nn.Module) -> None:
    """Put whole parameters in the place of trained shards, in every process; no step can follow.

    Args:
        model: what was sharded.
    """
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # What the last forward pass left whole is a copy that goes when somebody looks.
            module.reshard()
    for module in model.modules():
        for name, part in list(module.named_parameters(recurse=False)):
            if part.requires_grad and isinstance(part, DTensor):
                if id(part) not in made:
                    made[id(part)] = torch.nn.Parameter(_whole(part.detach()))
                setattr(module, name, made[id(part)])


def _whole(part: torch.Tensor) -> torch.Tensor:
    """A tensor, put together from all processes where each holds a shard."""
    return part.full_tensor() if isinstance(part, DTensor) else part


def _trained(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    found = {name: part for name, part in model.named_parameters() if part.requires_grad}
    starts = {name: part for name, part in model.named_buffers() if ".parametrizations." in name}
    return found | starts
