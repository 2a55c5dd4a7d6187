"""Files in the layout of their releases, read from a local folder.

Nothing is guessed or skipped: a file that is missing, unreadable, truncated or broken is a
`DataError` that names it, with every line that is broken.
"""

from __future__ import annotations

import codecs
import functools
import gzip
import io
import json
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from maple.data.reading import current, report
from maple.data.rows import Row
from maple.errors import DataError

T = TypeVar("T")


class NoFilesError(DataError):
    """None of the files of a subset is in the folder: the folder does not have that subset."""


def find(folder: Path, *candidates: str) -> Path:
    """The first of several files that exists.

    Args:
        folder: the user's data folder.
        candidates: paths relative to it, in order of preference.

    Raises:
        NoFilesError: none exists.
        DataError: the folder cannot be looked into.
    """
    for candidate in candidates:
        if exists(folder, candidate):
            return folder / candidate
    raise NoFilesError(
        f"{folder}: none of these files is there: " + ", ".join(candidates),
        "the layout of each release is described in docs/guides/data.md",
    )


def exists(folder: Path, candidate: str) -> bool:
    """Whether the data folder has a file.

    Raises:
        DataError: there is no such folder, or it cannot be looked into.
    """
    try:
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder", "give the folder of the release files")
        return (folder / candidate).is_file()
    except PermissionError as error:
        raise _forbidden(Path(error.filename or folder)) from error


def read_jsonl(path: Path, shown: str | None = None) -> list[Row]:
    """All rows of a JSON Lines file, plain or gzip-compressed (".gz"). Blank lines are skipped.

    Args:
        path: the file.
        shown: what messages call the file; its path by default.

    Raises:
        DataError: missing or unreadable, a truncated archive, or no row at all; every line that is
            no JSON object or no UTF-8, with file and line.
    """
    name = shown or str(path)
    return _jsonl(_content(path, name), name)


def read_member(path: Path, member: str, shown: str | None = None) -> list[Row]:
    """As `read_jsonl`, for a file inside a tar archive (plain or compressed).

    Args:
        path: the archive.
        member: name of the file, in whatever folder of the archive.
        shown: what messages call the archive; its path by default.

    Raises:
        DataError: as `read_jsonl`; the archive has no such file.
    """
    name = shown or str(path)
    content = _content(path, name)
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for entry in archive:
                if entry.isfile() and Path(entry.name).name == member:
                    file = archive.extractfile(entry)
                    return _jsonl(file.read() if file else b"", f"{name}/{member}")
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"{name}: the archive is broken or cut off ({error})", "download it again"
        ) from error
    raise DataError(f"{name}: there is no file {member} in the archive", "download it again")


def _jsonl(content: bytes, name: str) -> list[Row]:
    lines = enumerate(content.split(b"\n"), start=1)
    filled = ((number, f"{name}:{number}", line) for number, line in lines if line.strip())
    return _read(filled, _object, name, "line")


def _read(
    values: Iterable[tuple[int, str, T]],
    read: Callable[[T, str], Mapping[str, object]],
    name: str,
    kind: str,
) -> list[Row]:
    """Values (number, where, content) as rows; all that cannot be read are one error."""
    rows: list[Row] = []
    problems: list[DataError] = []
    for number, where, value in values:
        try:
            rows.append(Row(where, number, read(value, where)))
        except DataError as error:
            problems.append(error)
    report(problems)
    if not rows:
        what = f"no {kind} of it can be read" if problems else "the file is empty"
        raise DataError(f"{name}: {what}", "download it again")
    return rows


def read_rows(path: Path, shown: str | None = None) -> list[Row]:
    """All rows of a Parquet or JSON file, by its name; JSON may be gzip-compressed (".gz").

    JSON is an array of objects or JSON Lines, whichever it holds: both go by the name of `.json`.

    Args:
        path: the file.
        shown: what messages call the file; its path by default.

    Raises:
        DataError: as `read_jsonl`; the rows of an array are named by their place in it, from 1.
    """
    name = shown or str(path)
    if path.suffix == ".parquet":
        return read_parquet(path, name)
    content = _content(path, name)
    return _array(content, name) if content.lstrip()[:1] == b"[" else _jsonl(content, name)


def read_parquet(path: Path, name: str) -> list[Row]:
    """All rows of a Parquet file; `name` is what messages call it.

    Raises:
        DataError: missing or unreadable.
    """
    import pyarrow as pa  # 100 ms; most files are JSON
    from pyarrow import parquet

    current().files.add(path)
    try:
        values = parquet.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{name}: not a readable Parquet file ({type(error).__name__})",
            "fetch it again; delete it before from the hub's cache, or the pulled folder",
        ) from error
    return [Row(f"{name}:{number}", number, row) for number, row in enumerate(values, start=1)]


def read_json(path: Path) -> Mapping[str, object]:
    """A file that is one JSON object.

    Raises:
        DataError: as `read_jsonl`.
    """
    return _object(_content(path, str(path)), str(path))


def read_text(path: Path) -> str:
    """The whole text of a file.

    Raises:
        DataError: missing or unreadable, or not UTF-8, with file and line.
    """
    content = _content(path, str(path))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8", "convert the file to UTF-8") from error


def read_any(path: Path) -> None:
    """Read a file of which nothing but its name is known, to see whether it is damaged.

    Raises:
        DataError: unreadable, a truncated archive; JSON or JSON lines by name, and broken.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        read_jsonl(path)
    elif name.endswith(".json"):
        _json(_content(path, str(path)), str(path))
    else:
        _content(path, str(path))


def _array(content: bytes, name: str) -> list[Row]:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        values = _json(content, name)  # says what is wrong
    checked = functools.partial(_checked, escaped=b"\\ud" in content.lower())
    numbered = ((n, f"{name}: row {n}", value) for n, value in enumerate(values, start=1))
    return _read(numbered, checked, name, "row")


def _content(path: Path, name: str) -> bytes:
    current().files.add(path)
    try:
        data = path.read_bytes()
        content = gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file") from error
    except PermissionError as error:
        raise _forbidden(path) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{name}: the compressed file is broken or cut off ({error})", "download it again"
        ) from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from error
    if content.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(
            f"{name}: starts with a byte-order mark", "save the file as UTF-8 without one"
        )
    return content


def _object(text: bytes, where: str) -> Mapping[str, object]:
    return _checked(_json(text, where), where, escaped=b"\\ud" in text.lower())


def _checked(value: object, where: str, *, escaped: bool) -> Mapping[str, object]:
    """A JSON value that must be an object; `escaped`: its text has \\ud800 to \\udfff in it."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(value).__name__}")
    if escaped:  # half of an escaped pair can be read, and never written
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where}: an escaped character is half of a pair (\\ud800 to \\udfff alone)",
                "mend the file, or leave the row out",
            ) from error
    return value


def _json(text: bytes, where: str) -> object:
    try:
        value: object = json.loads(text.decode("utf-8"))
    except RecursionError as error:
        raise DataError(f"{where}: not JSON, nested too deeply") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: not UTF-8 at byte {error.start} of the line", "convert the file to UTF-8"
        ) from error
    except json.JSONDecodeError as error:
        line = where if error.lineno == 1 else f"{where}:{error.lineno}"
        raise DataError(
            f"{line}: not JSON at column {error.colno} ({error.msg})", "the file may be cut off"
        ) from error
    return value


def _forbidden(path: Path) -> DataError:
    return DataError(f"{path}: permission denied", "check who may read it (ls -l)")
