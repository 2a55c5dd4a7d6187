"""Rows as a model sees them, from the source to the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maple.cli import app
from maple.errors import DataError, ModelError
from maple.study.load import validate
from maple.sweep.catalogue import catalogue
from maple.sweep.shown import show
from models import chats, tiny
from sweep.studies import content


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny base whose tokenizer has a Gemma-style chat template and a token a byte."""
    folder = tiny.saved(tmp_path_factory.mktemp("base"), "gemma3")
    chats.tokenizer("gemma").save_pretrained(folder)
    return str(folder)


def test_rows_are_shown_as_they_are_trained_on(base: str) -> None:
    found = show("mini", base, 2, "chat", None, None, 200, None)
    assert [row.language for row in found.rows] == list(found.languages) == ["arb_Arab", "deu_Latn"]
    assert found.template_hash.startswith("sha256:")
    for row in found.rows:
        (prompt, unlearned), (answer, learned) = row.parts
        assert (unlearned, learned) == (False, True)
        assert prompt.startswith("<s><start_of_turn>user\n")
        assert prompt.endswith("<end_of_turn>\n<start_of_turn>model\n")
        assert answer.endswith("<end_of_turn></s>")
        assert (row.bos, row.eos) == (1, True)
        assert row.n_tokens == len(row.tokens)
        assert row.n_learned == sum(token.learned for token in row.tokens)
        # A byte is a token, and so is a marker.
        assert row.n_learned == len(answer.removesuffix("<end_of_turn></s>").encode()) + 2
        assert row.dropped == (row.n_tokens > 200)
    assert found.sample.rows == 48
    assert found.sample.dropped == 43
    assert found.sample.longest >= max(row.n_tokens for row in found.rows)


def test_a_users_template_and_one_language(base: str) -> None:
    study = content()
    mine = {"name": "mine", "text": "{instruction}{input}\n{output}"}
    study["train"] |= {"template": [mine]}
    own = validate(study, catalogue(), "s.toml")
    found = show("mini", base, 1, "mine", own, "sw", 10_000, None)
    (row,) = found.rows
    assert row.language == "swh_Latn"
    assert row.parts[0][0].startswith("<s>")
    assert found.sample.dropped == 0
    assert found.template_hash != show("mini", base, 1, "plain", None, "sw", 99, None).template_hash


def test_what_is_not_there_is_named(base: str) -> None:
    for source, model, template, error, what in (
        ("minni", base, "plain", DataError, "no training source 'minni'"),
        ("mini", base, "plian", ModelError, "no training template 'plian'"),
        ("mini", "scripted:hash", "plain", ModelError, "has no tokenizer"),
    ):
        with pytest.raises(error, match=what):
            show(source, model, 1, template, None, None, 768, None)


def test_the_command(base: str, tmp_path: Path) -> None:
    asked = ["sources", "show", "mini", "--model", base, "--n", "1", "--language", "en"]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("row mini-00, eng_Latn\n<s>Task:\n")
    assert "\nAnswer:\n[[" in shown.output
    assert "</s>]]\n<s>|T|a|s|k|:|\\n|" in shown.output
    assert " learned, 1 BOS, EOS at its end; fits 768\n" in shown.output
    assert "24 rows of eng_Latn: " in shown.output
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).output)
    assert found["rows"][0]["tokens"][0] == {"id": 1, "text": "<s>", "learned": False}
    own = tmp_path / "s.toml"
    own.write_text(
        'name = "s"\n[base]\nmodels = ["scripted:hash"]\n[train]\nsources = ["mini"]\nr = [8]\n'
        'lora_alpha = "2r"\ntrain_bits = [16]\n[[train.template]]\nname = "mine"\n'
        'text = "Do {instruction}{input}\\n{output}"\n',
        encoding="utf-8",
    )
    mine = CliRunner().invoke(app, [*asked, "--study", str(own), "--template", "mine"])
    assert mine.output.startswith("row mini-00, eng_Latn\n<s>Do ")
    assert json.loads(CliRunner().invoke(app, ["sources", "--json"]).output)[0]["source"] == "mini"
