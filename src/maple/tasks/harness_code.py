"""What a task file of lm-evaluation-harness says, and the code that it names, as one hash."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
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
            f"its function {name} comes from a module without Python source",
            "write a function of your own, which calls it, in a file beside the task's",
        )
    return [name, path.read_text(encoding="utf-8"), *_imported(path.resolve(), folders)]


def _imported(path: Path, folders: Sequence[Path]) -> list[str]:
    """Texts of the local files that a local file imports, directly or not. Nothing is run."""
    roots = [folder.resolve() for folder in folders]
    # Python looks in folders that its path names, which may be above the study's.
    above = [Path(entry).resolve() for entry in sys.path]
    places = [path.parent, *roots, *(entry for entry in above if _holds(entry, roots))]
    found: set[Path] = set()
    waiting = [path] if any(path.is_relative_to(root) for root in roots) else []
    while waiting:
        new = {
            file
            for place, module in _imports(waiting.pop())
            for file in _files(module, places if place is None else [place])
            if any(file.is_relative_to(root) for root in roots)
        }
        waiting += new - found - {path}
        found |= new
    return sorted(file.read_text(encoding="utf-8") for file in found - {path})


def _imports(path: Path) -> Iterator[tuple[Path | None, str]]:
    """Dotted names that a file imports, inside of functions too, and from where if relative."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((None, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            place = path.parents[node.level - 1] if node.level else None
            # What is taken from a package may be a module of it.
            for alias in node.names:
                yield place, ".".join(filter(None, (node.module, alias.name)))


def _files(module: str, places: Sequence[Path]) -> Iterator[Path]:
    """Files that importing a dotted name may run: of the module and of the packages it is in."""
    parts = module.split(".")
    for place in places:
        for length in range(1, len(parts) + 1):
            inner = place.joinpath(*parts[:length])
            for file in (inner.with_suffix(".py"), inner / "__init__.py"):
                if file.is_file():
                    yield file.resolve()


def _holds(place: Path, folders: Sequence[Path]) -> bool:
    return any(folder.is_relative_to(place) for folder in folders)
