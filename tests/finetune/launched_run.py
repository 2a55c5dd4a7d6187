"""A training in one of several processes: `accelerate launch` runs it for test_processes.py.

Argument: the output folder.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch
from tiny_finetune import CELL, PAIRS, make_loaded, silent

from maple.finetune.trainer import train
from maple.records import Execution


def main(out: Path) -> None:
    torch.set_num_threads(1)
    cell = dataclasses.replace(CELL, lora_dropout=0.0)
    train(
        make_loaded("gemma3"),
        PAIRS,
        cell,
        out,
        silent,
        languages=["eng_Latn"] * len(PAIRS),
        held_out={"eng_Latn": PAIRS[:4]},
        execution=Execution(pack_tokens=40),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
