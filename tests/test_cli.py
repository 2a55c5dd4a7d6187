"""The command as a user meets it: quick, clear about mistakes, and nothing written for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from command import maple
from data.small_hub import Hub
from maple.cli import _section
from maple.models import hub as model_hub
from models import tiny
from models.serving import TinyServer, serving

GOOD = """
name = "s"
[base]
models = ["scripted:hash"]
[train]
sources = ["mini"]
languages = ["en"]
r = [8]
lora_alpha = "2r"
train_bits = [4]
[evaluate]
[[evaluate.task]]
name = "xcopa"
dataset = "mini"
subsets = ["en", "zh"]
n_shot = 2
"""
RELEASE = GOOD.replace('"mini"', '"multialpaca"', 1).replace('["en"]', '["es"]', 1)


def refused(folder: Path, *arguments: str | Path) -> str:
    """What a mistake prints: one error, status 2, no traceback, no results folder."""
    done = maple(*arguments, folder=folder)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not (folder / "out").exists()
    return " ".join(done.stderr.split())


def study(folder: Path, text: str) -> Path:
    path = folder / "s.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_help_needs_neither_torch_nor_data_libraries() -> None:
    code = (
        "import sys; import maple.cli\n"
        "heavy = {'torch', 'transformers', 'peft', 'polars', 'pyarrow', 'pydantic'}\n"
        "heavy |= {'datasets', 'lm_eval'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_plan_says_what_is_out_of_reach_and_a_run_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(model_hub.HfApi, "model_info", lost)
    monkeypatch.setattr(model_hub.constants, "HF_HUB_OFFLINE", False)
    path = study(tmp_path, GOOD.replace("scripted:hash", "mistralai/Mistral-7B-v0.1"))
    planned = maple("plan", path, folder=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "Not checked here, because it is out of reach:" in planned.stdout
    assert "base model 'mistralai/Mistral-7B-v0.1': " in planned.stdout
    assert "1 adapters, 1 baselines, 4 eval cells" in planned.stdout
    assert "20,971,520" in planned.stdout  # 2,621,440 x r = 8
    assert "fits: " in planned.stdout
    assert "cannot be reached" in refused(tmp_path, "run", path)


def test_a_study_from_plan_to_report(tmp_path: Path) -> None:
    path = study(tmp_path, GOOD)
    planned = maple("plan", path, "--json", folder=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["total"] == "1 adapters, 4 eval cells, 5 to compute"
    assert not (tmp_path / "out").exists()

    done = maple("run", path, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = Path(json.loads(done.stdout)["report"])
    assert (tmp_path / report).read_text(encoding="utf-8").count("not evidence") >= 1
    assert "5 cells computed" in done.stderr

    again = maple("run", path, folder=tmp_path)
    assert "0 cells computed, 0 scored, 0 failed" in again.stderr
    assert "not evidence" in again.stdout.splitlines()[0]

    status = maple("status", "out/s", "--json", folder=tmp_path)
    assert [row["status"] for row in json.loads(status.stdout)] == ["done"] * 5
    assert maple("report", "out/s", folder=tmp_path).returncode == 0
    live = maple("report", "out/s", "--live", folder=tmp_path)
    assert (live.returncode, live.stderr) == (0, "train: 1 done; eval: 4 done\n")
    assert live.stdout == maple("report", "out/s", folder=tmp_path).stdout


def test_without_a_study_file(tmp_path: Path) -> None:
    made = maple(
        *("finetune", "scripted:hash", "--source", "mini", "--languages", "en,sw"),
        *("--r", "4", "--train-bits", "16", "--validation-rows", "2", "--out", "f"),
        folder=tmp_path,
    )
    assert made.returncode == 0, made.stderr
    (data,) = json.loads((tmp_path / "f" / "plan.json").read_text(encoding="utf-8"))["data"]
    assert [(line["rows"], line["held_out"]) for line in data["table"]] == [(22, 2), (22, 2)]
    adapter = made.stdout.strip()
    assert adapter == "f"
    (kept,) = (tmp_path / "f" / "train").glob("*/adapter_model.safetensors")
    assert (tmp_path / "f" / kept.name).samefile(kept)
    assert not (tmp_path / "f" / "record.json").exists()
    scored = maple(
        *("evaluate", "scripted:hash", "--adapter", adapter, "--task", "xcopa"),
        *("--dataset", "mini", "--subset", "en", "--subset", "hi", "--out", "e", "--json"),
        *("--setup", "cross-lingual"),
        folder=tmp_path,
    )
    assert scored.returncode == 0, scored.stderr
    plan = json.loads((tmp_path / "e" / "plan.json").read_text(encoding="utf-8"))
    assert {cell["method"] for cell in plan["train"].values()} == {"none", "adapter"}
    assert len(plan["evals"]) == 4
    assert {(cell["subset"], cell.get("exemplar_subset")) for cell in plan["evals"].values()} == {
        ("eng_Latn", None),
        ("hin_Deva", "eng_Latn"),
    }


@pytest.mark.parametrize("command", ["tasks", "languages", "sources"])
def test_lists_are_data(tmp_path: Path, command: str) -> None:
    rows = json.loads(maple(command, "--json", folder=tmp_path).stdout)
    assert len(rows) == {"tasks": 13, "languages": 213, "sources": 7}[command]
    assert maple(command, folder=tmp_path).stdout


def test_languages_are_filtered(tmp_path: Path) -> None:
    asked = ("languages", "--task", "xcopa", "--task", "xquad", "--spaced", "no")
    rows = json.loads(maple(*asked, "--json", folder=tmp_path).stdout)
    assert [row["key"] for row in rows] == ["tha_Thai", "zho_Hans"]
    assert rows[1]["codes"]["xlsum"] == "chinese_simplified"
    shown = maple("languages", "Luo", folder=tmp_path).stdout
    assert "luo_Latn" in shown
    assert "unknown" in shown
    none = maple(*asked, "--resource-class", "0", folder=tmp_path)
    assert (none.returncode, none.stdout) == (0, "no language fits all of it\n")
    assert "did you mean 'xcopa'?" in refused(tmp_path, "languages", "--task", "xkopa")


def test_init_writes_a_study_that_plans(tmp_path: Path) -> None:
    assert maple("init", folder=tmp_path).returncode == 0
    written = tomllib.loads((tmp_path / "study.toml").read_text(encoding="utf-8"))
    assert written["train"]["lora_alpha"] == "2r"
    assert "exists already" in refused(tmp_path, "init")


def test_init_template_is_a_valid_study(tmp_path: Path) -> None:
    from maple.study.load import load
    from maple.sweep.catalogue import catalogue

    maple("init", folder=tmp_path)
    loaded = load(tmp_path / "study.toml", catalogue())
    assert loaded.train is not None
    assert loaded.train.languages == ["spa_Latn", "jpn_Jpan", "por_Latn"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "s"', 'name = "s"\nranks = 3', "ranks: unknown key"),
        ('name = "xcopa"', 'name = "xcopaa"', "did you mean 'xcopa'?"),
        ('"en", "zh"', '"en", "it"', "xcopa (mini) has no ita_Latn"),
        ('"en", "zh"', '"en", "qqq"', "evaluate.task[0].subsets[1]"),
        ("r = [8]", "r = [0]", "train.r[0]: got 0"),
        ("train_bits = [4]", "train_bits = [5]", "train.train_bits[0]: got 5"),
        ("n_shot = 2", "n_shot = 5", "5 exemplars asked for"),
        ('"scripted:hash"', '"scripted:gold"', "base.models[0]"),
        ('"scripted:hash"', '"./no-such-model"', "no such file or folder"),
        ('"scripted:hash"', '"demo:gemma-4"', "base.models[0]"),
        ("[train]", "[train]\nrows = 5000", "5000"),
    ],
)
def test_mistakes_in_a_study(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert expected in refused(tmp_path, "run", study(tmp_path, GOOD.replace(old, new)))


def test_several_mistakes_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("scripted:hash", "nowhere.gguf").replace("n_shot = 2", "n_shot = 9")
    found = refused(tmp_path, "run", study(tmp_path, text))
    assert "3 problems" in found
    assert "base.models[0]" in found
    assert "xcopa/eng_Latn" in found
    assert "xcopa/zho_Hans" in found


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "multialpaca/es.jsonl"),
        (b"", "es.jsonl"),
        (b'{"instruction": "a", "input": null, "output": "b"}\n{"instr', "es.jsonl:2"),
        (b'{"instruction": "a", "input": null}\n', "es.jsonl:1"),
        (b'{"instruction": "a", "output": 3}\n', "es.jsonl:1"),
        # Shown as it is: ":100:" is a place, and to some terminals' libraries an emoji.
        (b'{"instruction": "a", "output": "b"}\n' * 99 + b"x\n", "es.jsonl:100: not JSON"),
        (b"\xff\xfd\n", "es.jsonl:1"),
        (b"\xff\xfe\n", "starts with a byte-order mark"),
    ],
)
def test_broken_training_data(tmp_path: Path, content: bytes | None, expected: str) -> None:
    folder = tmp_path / "data" / "multialpaca"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "es.jsonl").write_bytes(content)
    found = refused(tmp_path, "run", study(tmp_path, RELEASE), "--data", tmp_path / "data")
    assert expected in found


def test_folders_that_do_not_serve(tmp_path: Path) -> None:
    path = study(tmp_path, GOOD)
    assert "no such folder" in refused(tmp_path, "run", path, "--data", "nowhere")
    (tmp_path / "file").write_text("x")
    assert "is a file, expected a folder" in refused(tmp_path, "run", path, "--out", "file/results")
    assert "no such study file" in refused(tmp_path, "run", "none.toml")
    assert "no results here" in refused(tmp_path, "status", "nowhere")
    assert "no results here" in refused(tmp_path, "report", tmp_path)
    (tmp_path / "plan.json").write_text("{")
    assert "plan.json" in refused(tmp_path, "status", tmp_path)


@pytest.mark.usefixtures("no_privileges")
def test_no_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    path = study(tmp_path, GOOD)
    assert "no permission" in refused(tmp_path, "run", path, "--out", closed / "results")
    path.chmod(0)
    assert "ermission denied" in refused(tmp_path, "run", path)


def test_data_is_fetched_and_checked(tmp_path: Path, hub: Hub) -> None:
    rows = b"".join(
        json.dumps({"instruction": f"Di {n}", "output": str(n)}).encode() + b"\n" for n in range(4)
    )
    hub.put("DAMO-NLP-MT/multialpaca", {"es.jsonl": rows})
    path = study(tmp_path, RELEASE)
    done = maple("data", "pull", path, "--to", "d", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "1 files, 0.0 MB: --data d\n")
    pulled = json.loads(maple("data", "pull", path, "--to", "d", "--json", folder=tmp_path).stdout)
    assert (pulled["unfinished"], pulled["bytes"]) == ([], len(rows))
    assert pulled["sources"] == [{"source": "multialpaca", "language": "spa_Latn"}]
    assert maple("plan", path, "--data", "d", folder=tmp_path).returncode == 0
    done = maple("data", "check", "d", folder=tmp_path)
    assert done.returncode == 0
    assert "4 of 9958" in done.stdout
    assert "1 subsets, 0 problems" in done.stdout
    (tmp_path / "d" / next(iter(pulled["files"]))).write_bytes(rows[:-1])
    done = maple("data", "check", "d", folder=tmp_path)
    assert done.returncode == 1
    assert f"has {len(rows) - 1} bytes, {len(rows)} were fetched" in done.stdout
    found = json.loads(maple("data", "check", "d", "--json", folder=tmp_path).stdout)
    assert [problem["what"][-7:] for problem in found["problems"]] == ["fetched"]
    assert "no such folder" in refused(tmp_path, "data", "check", "nowhere")


def test_arguments_are_checked_like_a_study(tmp_path: Path) -> None:
    found = refused(tmp_path, "finetune", "scripted:hash", "--source", "minni", "--train-bits", "5")
    assert "arguments: train.train_bits[0]: got 5" in found
    found = refused(
        tmp_path,
        "evaluate",
        "scripted:hash",
        "--task",
        "xcopa",
        "--subset",
        "de",
        "--eval-bits",
        "4",
    )
    assert "xcopa (release) has no deu_Latn" in found
    asked = ("evaluate", "scripted:hash", "--task", "xcopa", "--subset", "sw")
    found = refused(tmp_path, *asked, "--setup", "translate-test")
    assert "translate-test needs translations (a folder) and translated_by" in found
    given = ("--translations", "nowhere", "--translated-by", "nllb")
    found = refused(tmp_path, *asked, "--setup", "translate-test", *given)
    assert "evaluate.task[0].translations: " in found


def test_an_adapter_replaces_no_file_of_its_user(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    asked = ("finetune", "scripted:hash", "--source", "mini", "--languages", "en", "--out", ".")
    assert "--out .: there are other files in it (README.md)" in refused(tmp_path, *asked)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_foreign_task_on_the_command_line(tmp_path: Path) -> None:
    # Its one subset is named by its language; dataset and prompt are its own.
    assert _section("lm_eval:x", ["it"], n_shot=0, prompt=None) == {
        "name": "lm_eval:x",
        "n_shot": 0,
        "language": "it",
    }
    assert _section("lm_eval:x", ["all"], n_shot=0) == {"name": "lm_eval:x", "n_shot": 0}
    asked = ("evaluate", "scripted:hash", "--task", "lm_eval:x", "--subset", "it")
    found = refused(tmp_path, *asked, "--dataset", "mini")
    assert "evaluate.task[0].dataset: lm_eval:x has one of its own hint: leave it out" in found
    assert "has one subset, named by its language" in refused(tmp_path, *asked, "--subset", "de")


def test_an_adapter_of_another_base(tmp_path: Path) -> None:
    made = maple(
        *("finetune", "scripted:hash", "--source", "mini", "--languages", "en", "--out", "f"),
        folder=tmp_path,
    )
    adapter = tmp_path / made.stdout.strip()
    config = (adapter / "adapter_config.json").read_text(encoding="utf-8")
    for broken, message in (
        ("{}", "names no peft_type"),
        (config.replace('"r": 16', '"r": 64'), "says r = 64, but"),
    ):
        assert broken != config
        (adapter / "adapter_config.json").write_text(broken, encoding="utf-8")
        found = refused(
            tmp_path,
            *("evaluate", "scripted:hash", "--adapter", adapter, "--task", "xcopa"),
            *("--dataset", "mini", "--subset", "en"),
        )
        assert message in found
    (adapter / "adapter_config.json").write_text(config, encoding="utf-8")
    note = json.loads((adapter / "maple.json").read_text(encoding="utf-8"))
    note["base"] = "sha256:0"
    (adapter / "maple.json").write_text(json.dumps(note), encoding="utf-8")
    found = refused(
        tmp_path,
        *("evaluate", "scripted:hash", "--adapter", adapter, "--task", "xcopa"),
        *("--dataset", "mini", "--subset", "en"),
    )
    assert "trained on" in found
    found = refused(
        tmp_path,
        *("evaluate", "scripted:hash", "--adapter", "nowhere", "--task", "xcopa"),
        *("--dataset", "mini", "--subset", "en"),
    )
    assert "nowhere" in found


def test_an_old_terminal_and_a_full_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maple", "languages"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=ascii_only, capture_output=True, check=True)
    assert b"\\x" in done.stdout
    with Path("/dev/full").open("wb") as full:
        failed = subprocess.run([*command, "--json"], stdout=full, stderr=-1, check=False)
    assert failed.returncode == 2
    assert failed.stderr.startswith(b"error: cannot write the output: No space left")


@pytest.mark.full
def test_a_server_on_the_command_line(tmp_path: Path) -> None:
    folder = tiny.saved(tmp_path / "tiny", "gemma3", max_position_embeddings=2048)
    model = tiny.build("gemma3", max_position_embeddings=2048).eval()
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    with serving(TinyServer(model, folder)) as url:
        asked = ("evaluate", folder, "--task", "xcopa", "--dataset", "mini", "--subset", "en")
        done = maple(*asked, "--eval-bits", "32", "--server", url, "--limit", "2", folder=tmp_path)
        assert done.returncode == 0
        assert "was not compared with the built-in engine" in done.stdout
        check = (
            "serve-check",
            folder,
            "--url",
            url,
            "--eval-bits",
            "32",
            "--task",
            "xcopa",
            "--subset",
            "en",
        )
        done = maple(*check, "--out", "out/evaluate", "--json", folder=tmp_path)
        found = json.loads(done.stdout)
        assert (done.returncode, found["passed"], found["model"]) == (0, True, "tiny")
        done = maple("report", "out/evaluate", folder=tmp_path)
        assert "agrees with the built-in engine" in done.stdout
        with torch.no_grad():
            model.model.layers[0].mlp.down_proj.weight.neg_()
        done = maple(*check, folder=tmp_path)
        assert done.returncode == 1
        assert "The server is refused: untuned: log-probabilities are" in done.stdout
        assert "serves no model" in refused(fresh, *check, "--server-model", "another")
    assert "cannot be reached" in refused(fresh, *check)
    assert "cannot be reached" in refused(fresh, *check[:-1], "all")
    assert "expected a finite number" in refused(fresh, *check, "--tolerance", "nan")
    lone = refused(fresh, *asked, "--server-model", "tiny")
    assert "--server-model tiny: is a name on a server, but there is no --server" in lone
    assert "expected an address" in refused(fresh, "serve-check", folder, "--url", "here")


def test_lint_shows_a_row_a_prompt_and_exits_1_on_a_violation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.toml").write_text(GOOD, encoding="utf-8")
    sound = maple("lint", "s.toml", "--json", folder=tmp_path)
    assert sound.returncode == 0
    rows = json.loads(sound.stdout)
    assert [(row["task"], row["subset"], row["items"]) for row in rows] == [
        ("xcopa", "eng_Latn", 16),
        ("xcopa", "zho_Hans", 16),
    ]
    monkeypatch.setattr("maple.models.scripted.ScriptedModel.max_context", 9)
    broken = maple("lint", "s.toml", folder=tmp_path)
    assert broken.returncode == 1
    assert "xcopa/eng_Latn/native: " in broken.stdout
    assert "the prompt is too long" in broken.stdout
    assert "violations" in broken.stdout
    assert not (tmp_path / "out").exists()
