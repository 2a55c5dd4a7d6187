"""Full finetuning: every weight of the base is trained, as a float32 copy of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from maple.errors import ModelError
from maple.finetune import checkpoints
from maple.finetune.adapter import origin, to_json
from maple.finetune.disk import sync, write_bytes
from maple.models.adapter_files import BASE_FILE
from maple.models.adapters import Tree, restore
from maple.models.files import read_json
from maple.models.hashing import TOKENIZER_FILES, names_in
from maple.models.loading import Loaded, quiet
from maple.records import TrainCell

_CONFIG = "config.json"
_COPIED = ("generation_config.json", *TOKENIZER_FILES)


class Full:
    """Float32 masters in the place of a base's weights, which wait until they are put back.

    In 16 bits autocast computes in bfloat16 from them. Weights that are tied stay one.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.model = loaded.model
        self._loaded = loaded
        self._bare = Tree(loaded.model)
        masters: dict[int, nn.Parameter] = {}
        for module in loaded.model.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                if id(weight) not in masters:
                    copy = weight.detach().to(torch.float32, copy=True)
                    masters[id(weight)] = nn.Parameter(copy)
                setattr(module, name, masters[id(weight)])

    def write_product(self, cell: TrainCell, texts: Mapping[str, str], folder: Path) -> int:
        """See `Tuned`: a model folder in transformers' layout, in the precision of the cell."""
        published = Path(self._loaded.base.path)
        config = read_json(published / _CONFIG, self._loaded.base.name)
        for master in self.model.parameters():
            master.grad = None
            master.data = master.data.to(self._loaded.compute_dtype)
        staged = checkpoints.stage(folder / "checkpoints")
        with quiet():
            self.model.save_pretrained(staged)
        written = sorted(staged.glob("*.safetensors"))
        if not written:
            raise ModelError(f"{folder}: transformers wrote no weights")
        dtype = str(self._loaded.compute_dtype).removeprefix("torch.")
        config = {name: value for name, value in config.items() if name != "torch_dtype"}
        write_bytes(folder / _CONFIG, json.dumps(config | {"dtype": dtype}, indent=2).encode())
        for path in (*written, *staged.glob("*.safetensors.index.json")):
            # safetensors lets nobody else read its files; results folders are shared.
            path.chmod((folder / _CONFIG).stat().st_mode)
            sync(path)
            path.replace(folder / path.name)
        shutil.rmtree(staged)
        for name in names_in(published, _COPIED):
            write_bytes(folder / name, (published / name).read_bytes())
        write_bytes(folder / BASE_FILE, to_json(origin(cell, texts)))
        return sum((folder / path.name).stat().st_size for path in written)

    def detach(self) -> None:
        """See `Tuned`."""
        self._bare.restore()
        restore(self.model)
