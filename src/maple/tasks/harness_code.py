"""What a task file of lm-evaluation-harness says, and the code that it names, as one hash."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

from maple.errors import DataError
from maple.study.identity import content_hash

# What a cell's name knows through its items, its own fields or its score cells.
_HASHED_ELSEWHERE = frozenset(
    (
        "custom_dataset",
        "dataset_kwargs",
        "dataset_name",
        "dataset_path",
        "fewshot_split",
        "metadata",
        "num_fewshot",
        "tag",
        "task",
        "task_alias",
        "test_split",
        "training_split",
        "validation_split",
    )
)


def content(config: Any, named: Mapping[str, str], folders: Sequence[Path]) -> str:
    """Hash of what a task's file says beyond the data it reads, code included.

    Args:
        config: the task's `TaskConfig`.
        named: its `references`.
        folders: modules below these are local: they belong to the study and may be edited.

    Raises:
        DataError: a function without source, so that a change of it would go unseen.
    """
    said = {
        key: _plain(value)
        for key, value in config.to_dict(keep_callable=True).items()
        if key not in _HASHED_ELSEWHERE
    }
    code = {
        where: _sources(reference, folders)
        for where, reference in named.items()
        if where.partition(".")[0] not in _HASHED_ELSEWHERE
    }
    return content_hash(said | {"code": code} if code else said)


def references(plain: object, resolved: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Each `!function` of a task file: where it stands, and "<folder of the file>/rules.score".

    Args:
        plain: the file as the harness reads it without running anything.
        resolved: the same with the functions in place.
        where: the keys that lead to both.
    """
    if isinstance(plain, Mapping) and isinstance(resolved, Mapping):
        for key, value in plain.items():
            yield from references(value, resolved[key], f"{where}.{key}" if where else str(key))
    elif isinstance(plain, list) and isinstance(resolved, list):
        for index, (one, other) in enumerate(zip(plain, resolved, strict=True)):
            yield from references(one, other, f"{where}.{index}")
    elif isinstance(plain, str) and not isinstance(resolved, str):
        yield where, plain


def _plain(value: object) -> object:
    """A value of a task's configuration as JSON, without memory addresses."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if callable(value):
        return "a function"  # its place and its file are hashed with the code
    if value is None or isinstance(value, (str, int, float)):
        return value
    return str(value)


def _sources(reference: str, folders: Sequence[Path]) -> list[str]:
    """A named function's name, its whole file, and the local files that this imports.

    The file it is named in, not the one it comes from: what the name stands for may be made there
    from parts (`functools.partial`, an instance, a decorated function).
    """
    folder, name = Path(reference).parent, Path(reference).name
    module, _, _ = name.rpartition(".")
    path = folder / f"{module.replace('.', '/')}.py"
    if not path.exists():
        # Not beside the task file, so the harness has imported it.
        path = Path(getattr(sys.modules[module], "__file__", None) or "")
    if path.suffix != ".py":
        raise DataError(
            f"the function {name} comes from a module without Python source",
            "write a function of your own, which calls it, in a file beside the task's",
        )
    return [name, path.read_text(encoding="utf-8"), *_imported(path.resolve(), folders)]


def _imported(path: Path, folders: Sequence[Path]) -> list[str]:
    """Texts of the local files that a local file imports, directly or not. Nothing is run."""
    roots = [folder.resolve() for folder in folders]
    if not _below(path, roots):
        return []
    # Python looks in a folder that its path names, which may be one above the study's.
    above = [
        entry for entry in sys.path if any(_below(root, [Path(entry).resolve()]) for root in roots)
    ]
    finder = ModuleFinder([str(path.parent), *map(str, roots), *above])
    finder.run_script(str(path))
    files = (getattr(module, "__file__", None) for module in finder.modules.values())
    found = {Path(file).resolve() for file in files if file} - {path}
    return sorted(file.read_text(encoding="utf-8") for file in found if _below(file, roots))


def _below(path: Path, roots: Sequence[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)
