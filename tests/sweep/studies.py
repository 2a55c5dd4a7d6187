"""A whole study without torch, in milliseconds: what the sweep's tests run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from maple.records import Unit
from maple.store import Store
from maple.study.load import validate
from maple.sweep.catalogue import catalogue
from maple.sweep.plan import Plan, commit, make
from maple.sweep.run import Outcome, run
from maple.sweep.unit import run_unit

LANGUAGES = ["eng_Latn", "arb_Arab", "zho_Hans"]


def content(**changes: Any) -> dict[str, Any]:
    """A study on the scripted model; `changes` go into [train], [evaluate] or the tasks."""
    return {
        "name": "scripted",
        "seeds": changes.get("seeds", [0]),
        "base": {"models": ["scripted:hash"]},
        "train": {
            "sources": ["mini"],
            "languages": ["en", "sw"],
            "r": changes.get("r", [8]),
            "lora_alpha": "2r",
            "train_bits": changes.get("train_bits", [4, 16]),
            "methods": changes.get("methods", ["lora"]),
        },
        "evaluate": {
            "eval_bits": changes.get("eval_bits", "as trained"),
            "task": [
                {
                    "name": name,
                    "dataset": "mini",
                    "subsets": changes.get("subsets", LANGUAGES),
                    "n_shot": 2,
                }
                for name in ("xcopa", "xquad")
            ],
        },
    }


def planned(study: Mapping[str, Any], folder: Path, limit: int | None = None) -> tuple[Plan, Store]:
    """A committed plan and its store."""
    store = Store(folder)
    plan = make(validate(study, catalogue(), "test"), None, limit, store)
    commit(plan, store, b"")
    return plan, store


def swept(
    study: Mapping[str, Any], folder: Path, limit: int | None = None
) -> tuple[Outcome, Plan, Store]:
    """A study run to its end, without the seconds that starting worker processes takes."""
    plan, store = planned(study, folder, limit)
    outcome = run(plan, store, InProcess(), lambda _event: None)
    return outcome, plan, store


class InProcess:
    """An executor without processes."""

    def run(self, units: Iterable[Unit], on_event: Callable[[Mapping[str, object]], None]) -> None:
        """See `protocols.Executor`."""
        for unit in units:
            run_unit(unit, on_event)
            on_event({"event": "exit", "status": 0, "log": ""})


def results(folder: Path) -> dict[str, bytes]:
    """Every result file whose bytes a rerun must reproduce, by path."""
    patterns = ("train/*/adapter*", "train/*/log.jsonl", "eval/**/*.parquet", "scores/**/*.parquet")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }
