"""Names of base models, resolved; nothing here needs torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from maple.errors import ModelError
from maple.models import gguf_files
from maple.models.files import published_bits, resolve
from models import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.saved(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_scripted() -> None:
    base = resolve("scripted:hash")
    assert base.path == ""
    assert base.identity.startswith("sha256:")
    assert base.source_precision is None
    with pytest.raises(ModelError, match="no such script"):
        resolve("scripted:hesh")


def test_a_folder_is_its_content(folder: Path, copy: Path) -> None:
    base = resolve(str(folder))
    assert resolve(str(copy)).identity == base.identity
    (copy / "notes.txt").write_text("not part of the model")
    assert resolve(str(copy)).identity == base.identity
    edit(copy / "tokenizer_config.json", model_max_length=7)
    changed = resolve(str(copy))
    assert changed.identity != base.identity
    assert changed.tokenizer != base.tokenizer
    edit(copy / "config.json", rope_theta=7.0)
    assert resolve(str(copy)).tokenizer == changed.tokenizer
    assert resolve(str(copy)).identity != changed.identity


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/where", "no such file or folder"),
        ("./nowhere", "no such file or folder"),
        ("~/nowhere-at-all", "no such file or folder"),
        ("gpt2", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
        ("nowhere/model.gguf", "no such file or folder"),
        ("", "no config.json|cannot read"),
        ("demo:gemma", "no such demo"),
    ],
)
def test_names_that_are_nothing(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=message):
        resolve(name)


def test_broken_folders(copy: Path) -> None:
    edit(copy / "config.json", auto_map={"AutoModelForCausalLM": "modeling.Mine"})
    resolve(str(copy))  # transformers has Llama itself
    edit(copy / "config.json", model_type="mine")
    with pytest.raises(ModelError, match="auto_map"):
        resolve(str(copy))
    (copy / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="no JSON object"):
        resolve(str(copy))
    edit_config = {"model_type": "llama"}
    (copy / "config.json").write_text(json.dumps(edit_config))
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="no tokenizer"):
        resolve(str(copy))
    (copy / "model.safetensors").rename(copy / "model.bin")
    with pytest.raises(ModelError, match=r"no \.safetensors"):
        resolve(str(copy))
    with pytest.raises(ModelError, match=r"must be a \.gguf file"):
        resolve(str(copy / "model.bin"))


def test_published_bits() -> None:
    assert published_bits({}, "x") is None
    assert published_bits({"quantization_config": {"load_in_4bit": True}}, "x") == 4
    assert published_bits({"quantization_config": {"load_in_8bit": True}}, "x") == 8
    assert published_bits({"quantization_config": {"quant_method": "gptq", "bits": 3}}, "x") == 3
    assert published_bits({"quantization_config": {"quant_method": "fp8"}}, "x") == 8
    with pytest.raises(ModelError, match="not known"):
        published_bits({"quantization_config": {"quant_method": "mystery"}}, "x")


def test_broken_gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF is what this is not")
    with pytest.raises(ModelError, match="not a readable GGUF"):
        resolve(str(path))
    assert not list((tmp_path / "cache/maple/converted").glob("*-v*/*"))


def test_failed_conversion_shows_the_childs_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf_files, "source_bits", lambda *_: 4)
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho no such architecture >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    path = tmp_path / "x.gguf"
    path.write_bytes(b"weights")
    with pytest.raises(ModelError, match=r"exit status 3(.|\n)*no such architecture"):
        resolve(str(path))


def test_conversions_are_kept_checked_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf_files, "source_bits", lambda *_: 4)
    runs = []

    def converter(_name: str, _gguf: Path, written: Path) -> None:
        runs.append(written)
        (written / "tokenizer.json").write_text("tokens")
        (written / "model.safetensors").write_text("weights")

    monkeypatch.setattr(gguf_files, "_run_converter", converter)
    path = tmp_path / "x.gguf"
    path.write_bytes(b"weights")
    base = resolve(str(path))
    assert base.source_precision == 4
    assert resolve(str(path)) == base
    assert len(runs) == 1
    weights = Path(base.path) / "model.safetensors"
    weights.write_text("weights")  # same content, another time stamp
    assert resolve(str(path)) == base
    assert len(runs) == 1
    weights.write_text("weighty")
    assert resolve(str(path)) == base
    assert len(runs) == 2
    (Path(base.path) / "manifest.json").unlink()
    assert resolve(str(path)) == base
    assert len(runs) == 3
    assert weights.read_text() == "weights"


def test_demos_are_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = "demo:smollm2-135m"
    demo = gguf_files._DEMOS[name]
    wrong = gguf_files._Demo("pytest", demo.sha256, lambda _: Path(__file__))
    monkeypatch.setitem(gguf_files._DEMOS, name, wrong)
    with pytest.raises(ModelError, match="not the expected file"):
        resolve(name)
    absent = gguf_files._Demo("no-such-distribution", demo.sha256, demo.fetch)
    monkeypatch.setitem(gguf_files._DEMOS, name, absent)
    with pytest.raises(ModelError, match="not installed") as caught:
        resolve(name)
    assert caught.value.hint == "in the clone of MAPLE: pip install -e '.[demo]'"


def test_resolving_loads_no_torch(folder: Path) -> None:
    code = (
        "import sys; from maple.models.files import resolve; "
        f"resolve({str(folder)!r}); resolve('scripted:hash'); import maple.models.scripted; "
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
