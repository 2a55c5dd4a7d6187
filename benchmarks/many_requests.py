"""The memory of one call with very many requests.

    python benchmarks/many_requests.py --data DIR [--model demo:smollm2-135m] [--requests 20000]

Premises and choices of Italian XCOPA, combined by chance, behind the same four examples.
Prints JSON: requests, answer tokens, seconds, and the peak of resident memory above that of the
loaded model (10**6 bytes) for a tenth of the requests and for all of them, beside the budget for
keys and values.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import eval_speed
from children import child
from maple.data.release import read_jsonl
from maple.models.files import resolve
from maple.records import ChoiceRequest


def requests(data: Path, count: int) -> list[ChoiceRequest]:
    """Different prompts of real sentences."""
    items = read_jsonl(data / "xcopa" / "data" / "it" / "test.it.jsonl")
    shared = eval_speed.requests("xcopa-it-4", data, 1)[0].prefix
    draw = random.Random(0)  # noqa: S311 - texts, no secrets
    pairs = (draw.choices(items, k=2) for _ in range(count))
    return [
        ChoiceRequest(
            shared,
            first.text("premise"),
            (f" {second.text('choice1')}", f" {second.text('choice2')}"),
        )
        for first, second in pairs
    ]


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """What a child does."""
    from maple.models.engine import TransformersModel
    from maple.models.loading import load
    from maple.provenance import Meter

    model = TransformersModel(load(resolve(job["model"]), 16))
    asked = requests(Path(job["data"]), job["requests"])
    model.choice_logprobs(asked[:2], None)
    meter = Meter()
    found = model.choice_logprobs(asked, None)
    measured = meter.read()
    return {
        "requests": len(asked),
        "answer_tokens": sum(sum(response.n_tokens) for response in found),
        "seconds": round(float(str(measured["seconds"])), 1),
        "peak_mb": round(int(str(measured["peak_bytes"])) / 1e6),
        "budget_mb": round(model.budget.store_bytes / 1e6),
    }


def main() -> None:
    """Parse the command line and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of release files")
    parser.add_argument("--model", default="demo:smollm2-135m")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(json.loads(options.child))))
        return
    if options.data is None:
        parser.error("--data DIR is needed: the folder of release files")
    found = []
    for count in (options.requests // 10, options.requests):
        job = {"model": options.model, "data": str(options.data), "requests": count}
        found.append(child(__file__, **job))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
