"""Many adapters on one loaded base against a fresh process for each.

    python benchmarks/many_adapters.py --data DIR [--model demo:gemma-3-270m] [--adapters 12]

XCOPA-it, 4 shots. One process answers through all adapters, one after the other, as a unit of a
sweep does: prompts rendered and tokenised once, each adapter loaded and proven, batching noise
measured once. Then each adapter has a process of its own, where the forward passes alone are timed.
Prints JSON:

    total_s          all adapters in one process, without loading the base
    forward_s        sum of the forward times measured alone
    ratio            total_s / forward_s
    max_abs_diff     of the log-probabilities between the two, nats
    adapters, items
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from children import child
from eval_speed import requests
from maple.evaluate import invariance
from maple.evaluate.responses import PART_ITEMS, together
from maple.models.adapter_files import write_base
from maple.models.files import resolve

WORKLOAD = "xcopa-it-4"


def made(model: str, number: int, folder: Path) -> None:
    """A LoRA adapter of rank 8 with random weights, small enough to leave the model sane."""
    import torch
    from peft import LoraConfig, get_peft_model

    from maple.models.loading import load

    base = resolve(model)
    loaded = load(base, 16)
    for seed in range(number):
        torch.manual_seed(seed)
        config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        tuned = get_peft_model(loaded.model, config)
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.01)
        tuned.save_pretrained(folder / str(seed))
        write_base(
            folder / str(seed), base=base.identity, tokenizer=base.tokenizer, base_name=base.name
        )
        tuned.unload()


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """What a child does."""
    from maple.models.engine import TransformersModel
    from maple.models.loading import load

    model = TransformersModel(load(resolve(job["model"]), 16))
    adapters = [Path(adapter) for adapter in job["adapters"]]
    warm = requests(WORKLOAD, Path(job["data"]), 2)
    together(model, None, warm)
    answers = []
    if job["alone"]:
        asked = requests(WORKLOAD, Path(job["data"]), job["items"])
        parts = [asked[at : at + PART_ITEMS] for at in range(0, len(asked), PART_ITEMS)]
        for part in parts:
            together(model, None, part)  # tokenises, and pages the weights in
        model.adapters.use(adapters[0])
        start = time.perf_counter()
        answers.append([together(model, adapters[0], part) for part in parts])
    else:
        start = time.perf_counter()
        asked = requests(WORKLOAD, Path(job["data"]), job["items"])
        parts = [asked[at : at + PART_ITEMS] for at in range(0, len(asked), PART_ITEMS)]
        invariance.measure(model, None, asked, bits=16)
        for adapter in adapters:
            model.proof(adapter)
            answers.append([together(model, adapter, part) for part in parts])
    seconds = time.perf_counter() - start
    logprobs = [
        [list(response.logprobs) for part in answer for response in part]  # type: ignore[union-attr]
        for answer in answers
    ]
    return {"seconds": seconds, "logprobs": logprobs}


def main() -> None:
    """Parse the command line and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of release files")
    parser.add_argument("--model", default="demo:gemma-3-270m")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--adapters", type=int, default=12)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(json.loads(options.child))))
        return
    if options.data is None:
        parser.error("--data DIR is needed: the folder of release files")
    with tempfile.TemporaryDirectory() as scratch:
        made(options.model, options.adapters, Path(scratch))
        adapters = [str(Path(scratch) / str(number)) for number in range(options.adapters)]
        job = {"model": options.model, "data": str(options.data), "items": options.items}
        whole = child(__file__, **job, adapters=adapters, alone=False)
        print(f"together: {whole['seconds']:.1f} s", file=sys.stderr)
        fresh = []
        for adapter in adapters:
            fresh.append(child(__file__, **job, adapters=[adapter], alone=True))
            print(f"alone: {fresh[-1]['seconds']:.1f} s", file=sys.stderr)
    forward = sum(one["seconds"] for one in fresh)
    difference = max(
        abs(a - b)
        for mine, theirs in zip(whole["logprobs"], fresh, strict=True)
        for x, y in zip(mine, theirs["logprobs"][0], strict=True)
        for a, b in zip(x, y, strict=True)
    )
    print(
        json.dumps(
            {
                "total_s": round(whole["seconds"], 2),
                "forward_s": round(forward, 2),
                "ratio": round(whole["seconds"] / forward, 3),
                "max_abs_diff": difference,
                "adapters": options.adapters,
                "items": options.items,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
