"""A training in one of several processes: `accelerate launch` runs it for test_processes.py.

Arguments: a folder with a model in "base", where each training gets a folder named "many-" and its
method; the methods; "shards" before them to shard weights as FSDP does.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch
from accelerate import FullyShardedDataParallelPlugin, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from tiny_finetune import CELL, PAIRS, silent

from maple.finetune.trainer import train
from maple.models.loading import load
from maple.records import BaseModel, Execution

FULL = {
    "method": "full",
    "r": None,
    "lora_alpha": None,
    "lora_dropout": None,
    "target_modules": None,
}


def main(folder: Path, out: str, method: str) -> None:
    torch.set_num_threads(1)
    cell = dataclasses.replace(CELL, lora_dropout=0.0)
    if method != "lora":
        cell = dataclasses.replace(cell, **(FULL if method == "full" else {"method": method}))
    base = BaseModel(CELL.base_name, CELL.base, CELL.tokenizer, None, str(folder / "base"))
    train(
        load(base, 32),
        PAIRS,
        cell,
        folder / f"{out}-{method}",
        silent,
        languages=["eng_Latn"] * len(PAIRS),
        held_out={"eng_Latn": PAIRS[:4]},
        execution=Execution(pack_tokens=40),
    )


def shard() -> None:
    """Let accelerate shard on a CPU, which it does on accelerators only."""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["Gemma3DecoderLayer"],
        reshard_after_forward=True,
        state_dict_type="FULL_STATE_DICT",
        cpu_ram_efficient_loading=False,
    )
    plain = AcceleratorState.__init__

    def init(self: AcceleratorState, *args: object, **kwargs: object) -> None:
        plain(self, *args, **kwargs)
        shared = AcceleratorState._shared_state
        shared |= {"distributed_type": DistributedType.FSDP, "fsdp_plugin": plugin}

    AcceleratorState.__init__ = init


if __name__ == "__main__":
    folder, *methods = sys.argv[1:]
    if methods[0] == "shards":
        shard()
        del methods[0]
    for method in methods:
        main(Path(folder), "many", method)
    state = PartialState()
    print(f"process {state.process_index} of {state.num_processes}")  # noqa: T201
