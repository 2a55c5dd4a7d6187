"""TOML files and their sections: what is wrong with them in the project's words."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from maple.errors import MapleError, StudyError, nearest

_Model = TypeVar("_Model", bound=BaseModel)


def read_toml(path: Path, kind: str, hint: str) -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        kind: what messages call it.
        hint: what to do where it is not there.

    Raises:
        StudyError: no such file, one that cannot be read, or no TOML.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise StudyError(f"{path}: no such {kind}", hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read: {error}", "expected a TOML file") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path}: is not valid TOML: {error}") from error
    except RecursionError as error:
        raise StudyError(f"{path}: is not valid TOML: nested too deeply") from error


def parsed(model: type[_Model], content: Mapping[str, Any], where: str) -> _Model:
    """The content as a section.

    Args:
        where: names its origin in messages.

    Raises:
        StudyError: all that is wrong with it, key by key.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise StudyError.of(_problems(model, where, error.errors())) from error


def _problems(
    model: type[BaseModel], where: str, details: Sequence[ErrorDetails]
) -> list[MapleError]:
    """Pydantic's findings in the project's words, one a key.

    Where a key may be one of several kinds of value, pydantic reports what each kind says: they
    are alternatives of one problem, and of no interest where an element inside is the problem.
    """
    by_key: dict[str, list[ErrorDetails]] = {}
    for detail in details:
        by_key.setdefault(_key(detail["loc"]), []).append(detail)
    return [
        _problem(model, where, key, found)
        for key, found in by_key.items()
        if not any(other.startswith((f"{key}[", f"{key}.")) for other in by_key)
    ]


def _problem(
    model: type[BaseModel], where: str, key: str, found: Sequence[ErrorDetails]
) -> MapleError:
    first = found[0]
    if first["type"] == "extra_forbidden":
        *parents, name = first["loc"]
        return MapleError(
            f"{where}: {key}: unknown key", nearest(str(name), _keys_at(model, parents))
        )
    if first["type"] == "missing":
        return missing(where, key)
    messages = []
    for detail in found:
        message = detail["msg"].removeprefix("Value error, ")
        messages.append(message[:1].lower() + message[1:])
    given = first["input"]
    hidden = isinstance(given, Mapping) or key in _UNSHOWN
    shown = "" if hidden else f"got {given!r}, "
    return MapleError(f"{where}: {key or 'the study'}: {shown}{' or '.join(messages)}")


_UNSHOWN = frozenset({"evaluate.server", "evaluate.server.url"})
"""Keys whose values are not repeated: an address may have a password in it."""

_EXPECTATIONS: Mapping[str, str] = {
    "lora_alpha": 'state a rule such as lora_alpha = "2r": with a constant alpha, '
    "a sweep over r is also a sweep over the learning rate",
    "n_shot": "number of exemplars, for example n_shot = 4",
    "models": 'for example models = ["demo:gemma-3-270m"]',
    "r": "ranks, for example r = [8, 64]",
    "train_bits": "precisions, for example train_bits = [4, 16]",
}


def missing(where: str, key: str) -> MapleError:
    """That a key is not there, and what it could say."""
    return MapleError(f"{where}: {key}: is missing", _EXPECTATIONS.get(key.split(".")[-1], ""))


# Parts of pydantic's locations that name a branch of a union, not a key of the file.
_UNION_BRANCHES = ("literal", "list", "dict", "constrained", "function", "str", "float", "int")


def _key(location: Sequence[int | str]) -> str:
    key = ""
    for part in location:
        if isinstance(part, int):
            key += f"[{part}]"
        elif not (key and part.startswith(_UNION_BRANCHES) and not part.isidentifier()):
            if key and part in {"str", "float", "int"}:
                continue
            key += f".{part}" if key else part
    return key


def _keys_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names of the keys that the section at `location` may have."""
    current: type[BaseModel] = model
    for part in location:
        if isinstance(part, str) and part in current.model_fields:
            inner = next(_sections_in(current.model_fields[part].annotation), None)
            if inner is None:
                return []
            current = inner
    return list(current.model_fields)


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _sections_in(argument)
