"""The table of methods against studies and against its page in the guide.

`python tests/study/test_methods.py` prints the tables of docs/reference/methods.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from maple.errors import MapleError, StudyError
from maple.records import BaseModel, TrainCell
from maple.study.grid import TrainingData, train_cells
from maple.study.load import Catalogue, KnownTask, validate
from maple.study.methods import METHODS, TRAINED, method

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "methods.md"
BASE = BaseModel("b", "sha256:aa", "sha256:bb", None, "")
DATA = TrainingData("s", ("spa_Latn",), 4, "sha256:cc")
CATALOGUE = Catalogue(
    tasks={"xcopa": KnownTask({"release": ["ita_Latn"]}, ["native"])},
    sources={"s": ["spa_Latn"]},
    templates=("plain",),
)


def train(**changes: Any) -> dict[str, Any]:
    """[train] of a study; None leaves a key out."""
    content: dict[str, Any] = {
        "sources": ["s"],
        "r": [8, 16],
        "lora_alpha": "2r",
        "train_bits": [16],
    } | changes
    return {key: value for key, value in content.items() if value is not None}


def cells(evaluate: Mapping[str, Any] | None = None, **changes: Any) -> list[TrainCell]:
    """What a study trains."""
    content: dict[str, Any] = {
        "name": "x",
        "base": {"models": ["b"]},
        "train": train(**changes),
    }
    if evaluate is not None:
        task = {"name": "xcopa", "subsets": ["it"], "n_shot": 0}
        content["evaluate"] = {**evaluate, "task": [task]}
    study = validate(content, CATALOGUE, "s.toml")
    found = train_cells(study, [BASE], [DATA], {("sha256:aa", "plain"): "sha256:dd"}).values()
    return [cell for cell in found if cell.method != "none"]


def problems(evaluate: Mapping[str, Any] | None = None, **changes: Any) -> str:
    with pytest.raises(StudyError) as caught:
        cells(evaluate, **changes)
    return str(caught.value)


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_is_a_cell_with_what_it_uses_and_nothing_else(name: str) -> None:
    row = METHODS[name]
    found = cells(methods=[name])
    assert len(found) == (2 if row.uses("r") else 1)
    for cell in found:
        for key in ("r", "lora_alpha", "lora_dropout", "target_modules"):
            assert (getattr(cell, key) is not None) is row.uses(key), key
        assert cell.learning_rate == row.learning_rate
        assert cell.options is None
        assert cell.train_bits == 16
    if row.uses("lora_alpha"):
        assert [cell.lora_alpha for cell in found] == [16.0, 32.0]


def test_lora_is_what_it_was() -> None:
    (cell,) = cells(r=[8], learning_rate=3e-4)
    assert [cell] == cells(r=[8]) == cells(r=[8], options={"lora": {"lora_bias": False}})
    assert (cell.method, cell.learning_rate, cell.lora_dropout) == ("lora", 3e-4, 0.05)
    assert (cell.target_modules, cell.options) == ("all-linear", None)


def test_ranks_alpha_and_dropout_need_not_be_stated_where_nothing_uses_them() -> None:
    (cell,) = cells(methods=["full"], r=None, lora_alpha=None)
    assert (cell.r, cell.lora_alpha, cell.learning_rate) == (None, None, 2e-5)
    assert "s.toml: train.r: is missing" in problems(methods=["full", "vera"], r=None)
    assert "s.toml: train.lora_alpha: is missing" in problems(lora_alpha=None)
    (cell,) = cells(methods=["vera"], r=[4], lora_alpha=None)
    assert (cell.r, cell.lora_alpha) == (4, None)


def test_learning_rates_are_one_many_or_by_method() -> None:
    both = ["lora", "full"]

    def rates(value: object) -> list[tuple[str, float | None]]:
        return [(cell.method, cell.learning_rate) for cell in cells(methods=both, r=[8], **value)]  # type: ignore[arg-type]

    assert rates({"learning_rate": 1e-4}) == [("lora", 1e-4), ("full", 1e-4)]
    assert rates({"learning_rate": [1e-4, 2e-4]}) == [
        ("lora", 1e-4),
        ("lora", 2e-4),
        ("full", 1e-4),
        ("full", 2e-4),
    ]
    assert rates({"learning_rate": {"lora": [1e-4, 2e-4]}}) == [
        ("lora", 1e-4),
        ("lora", 2e-4),
        ("full", 2e-5),
    ]
    assert "train.learning_rate.dora: is none of this study's methods" in problems(
        learning_rate={"dora": 1e-4}
    )
    assert "train.learning_rate.lora: got 99" in problems(learning_rate={"lora": 99.0})


def test_options_are_pefts_and_only_what_differs_from_pefts_defaults_is_in_the_cell() -> None:
    options: dict[str, Any] = {"lokr": {"decompose_both": True, "rank_dropout": 0}}
    (cell,) = cells(methods=["lokr"], r=[4], options=options)
    assert cell.options == (("decompose_both", True),)
    (cell,) = cells(methods=["vera"], r=[4], options={"vera": {"d_initial": 1}})
    assert cell.options == (("d_initial", 1.0),)
    assert isinstance(cell.options[0][1], float)
    assert cells(methods=["pissa"], options={"pissa": {"init_lora_weights": "pissa"}}) == cells(
        methods=["pissa"]
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"methods": ["lorra"]}, "train.methods[0]: got 'lorra', unknown method 'lorra' (did you"),
        ({"methods": ["none"]}, "always evaluated"),
        (
            {"options": {"lora": {"lora_bais": True}}},
            "train.options.lora.lora_bais: lora has no option 'lora_bais' that a study may set",
        ),
        ({"options": {"lora": {"lora_bais": True}}}, "did you mean 'lora_bias'?"),
        ({"options": {"lora": {"lora_bias": 1}}}, "lora_bias: got 1, expected true or false"),
        (
            {"methods": ["loha"], "options": {"loha": {"rank_dropout": 1.0}}},
            "rank_dropout: got 1.0, expected a number from 0 below 1",
        ),
        (
            {"methods": ["vera"], "options": {"vera": {"projection_prng_key": 1.5}}},
            "projection_prng_key: got 1.5, expected a whole number from 0 to 2.14748e+09",
        ),
        (
            {"methods": ["pissa"], "options": {"pissa": {"init_lora_weights": "olora"}}},
            '"pissa" or "pissa_niter_4" or "pissa_niter_16"',
        ),
        ({"options": {"dora": {"use_rslora": True}}}, "train.options.dora: is none of this"),
        (
            {"methods": ["full"], "train_bits": [4, 16]},
            "train.train_bits: full cannot be trained in 4 bits: 4-bit weights are codes",
        ),
        ({"methods": ["dora"], "train_bits": [8]}, "dora cannot be trained in 8 bits"),
        ({"methods": ["lokr"], "train_bits": [4]}, "lokr cannot be trained in 4 bits"),
        (
            {"methods": ["lora", "full"], "train_bits": {"lora": [4]}},
            "train.train_bits: is stated by method, but not for full",
        ),
        ({"train_bits": {"lora": [5]}}, "train.train_bits.lora[0]: got 5"),
    ],
)
def test_what_a_method_cannot_do_is_said_before_anything_costs(
    changes: dict[str, Any], expected: str
) -> None:
    assert expected in problems(**changes)


def test_all_impossible_pairs_are_reported_at_once() -> None:
    found = problems(methods=["full", "dora", "loha"], train_bits=[4, 8, 16])
    assert found.startswith("4 problems:")
    wanted = {"full": [16], "dora": [4, 16], "loha": [8]}
    made = cells(methods=list(wanted), r=[8], train_bits=wanted)
    assert [(cell.method, cell.train_bits) for cell in made] == [
        ("full", 16),
        ("dora", 4),
        ("dora", 16),
        ("loha", 8),
    ]


def test_what_cannot_be_evaluated_is_refused_too() -> None:
    found = problems({"eval_bits": [8]}, methods=["dora"])
    assert "evaluate.eval_bits: dora cannot be evaluated in 8 bits" in found
    assert cells({"eval_bits": [4, 8]}, methods=["full"])  # quantised as a base of its own
    server = {"server": {"url": "http://127.0.0.1:8000/v1"}}
    assert "vLLM takes plain LoRA adapters only, no full" in problems(server, methods=["full"])
    assert cells(server, methods=["lora", "rslora", "pissa", "olora"])


def test_an_unknown_method_has_no_row() -> None:
    with pytest.raises(MapleError, match="unknown method"):
        method("adapter")


def tables() -> str:
    """The page's tables."""
    lines = [
        "| method | | trained in bits | learning rate | uses | from |",
        "|---|---|---|---|---|---|",
    ]
    for name in TRAINED:
        row = METHODS[name]
        uses = ", ".join(
            f"`{key}`" if key == theirs else f"`{key}` (`{theirs}`)"
            for key, theirs in row.fields.items()
        )
        bits = ", ".join(map(str, row.bits()))
        lines.append(
            f"| `{name}` | {row.label} | {bits} | {row.learning_rate:g} | {uses or '–'} | "
            f"{row.paper} |"
        )
    lines += ["", "| option | | default | values |", "|---|---|---|---|"]
    for name in TRAINED:
        for option in METHODS[name].options:
            default = "–" if option.default is None else f"`{str(option.default).lower()}`"
            lines.append(
                f"| `{name}.{option.name}` | {option.about} | {default} | {option.expected()} |"
            )
    lines += ["", "| pair | why not |", "|---|---|"]
    for name in TRAINED:
        for bits, reason in METHODS[name].impossible.items():
            lines.append(f"| `{name}`, {bits} bits | {reason} |")
    return "\n".join(lines)


def test_the_page_has_the_tables_of_the_table() -> None:
    assert tables() in PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    print(tables())  # noqa: T201
