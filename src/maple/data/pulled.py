"""A folder with copies of hub files, for machines without a network.

    DIR/maple-data.json                     what was fetched: commits, checksums, for which study
    DIR/hub/<owner>/<name>/<commit>/<file>  as on the hub

It is read in place of the hub, by the code that reads the hub: items, and so the ids of cells, are
the same. Checksums are compared whenever a file is read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from maple import provenance
from maple.data.reading import Mirror, Reading, Snapshot, reading
from maple.data.release import exists
from maple.errors import DataError

MANIFEST = "maple-data.json"
_LOCK = ".maple-data.lock"
_CHUNK = 1 << 20


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Known(_Section):
    """A revision of a dataset as the hub resolved it: its commit, and the names of its files."""

    commit: str
    files: list[str]


class Copy(_Section):
    """A file of the folder."""

    bytes: int
    sha256: str


class Subset(_Section):
    """A subset of a task that was fetched; `pool` says whether its exemplars were, too."""

    task: str
    dataset: str
    subset: str
    pool: bool


class Part(_Section):
    """A language of a training source that was fetched."""

    source: str
    language: str


class Manifest(_Section):
    """What a pulled folder holds.

    Attributes:
        maple: version of the program that fetched last.
        created: UTC, ISO 8601, of the first fetch.
        studies: names of the studies that it was fetched for.
        unfinished: those of them whose pull has not ended.
        datasets: what the hub had, by repository and revision.
        files: by path from the folder, with "/".
        tasks, sources: what can be read from it.
    """

    schema_version: Literal[1] = 1
    maple: str
    created: str
    studies: list[str] = []
    unfinished: list[str] = []
    datasets: dict[str, dict[str, Known]] = {}
    files: dict[str, Copy] = {}
    tasks: list[Subset] = []
    sources: list[Part] = []

    @property
    def complete(self) -> bool:
        """Everything asked for is there."""
        return not self.unfinished


class Pulled:
    """A pulled folder as `data.reading.Mirror`.

    Args:
        folder: has a manifest, or will get one.
        manifest: of it.
        filling: the hub is asked for what is not there yet, and the answer is kept.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, filling: bool = False) -> None:
        self.folder = folder
        self.manifest = manifest
        self._filling = filling
        self._sound: set[str] = set()

    def snapshot(self, repo: str, revision: str) -> Snapshot | None:
        """See `data.reading.Mirror`."""
        known = self.manifest.datasets.get(repo, {}).get(revision)
        if known is not None:
            return Snapshot(known.commit, tuple(known.files))
        if self._filling:
            return None
        raise DataError(f"{self.folder}: hub dataset {repo} was not pulled", self._hint())

    def keep_snapshot(self, repo: str, revision: str, snapshot: Snapshot) -> None:
        """See `data.reading.Mirror`."""
        known = Known(commit=snapshot.commit, files=list(snapshot.files))
        self.manifest.datasets.setdefault(repo, {})[revision] = known
        self.save()

    def file(self, repo: str, commit: str, name: str) -> Path | None:
        """See `data.reading.Mirror`. While filling, a damaged copy is fetched again."""
        key = _place(repo, commit, name)
        problem = self._problem(key)
        if problem is None:
            return self.folder / key
        if self._filling:
            return None
        raise DataError(f"{self.folder / key}: {problem}", self._hint())

    def keep_file(self, repo: str, commit: str, name: str, path: Path) -> None:
        """See `data.reading.Mirror`."""
        key = _place(repo, commit, name)
        try:
            with path.open("rb") as source:
                digest, size = _write(self.folder / key, iter(lambda: source.read(_CHUNK), b""))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        self.manifest.files[key] = Copy(bytes=size, sha256=digest)
        self._sound.add(key)
        self.save()

    def problems(self) -> list[DataError]:
        """Every file that is missing or is not what was fetched, and a pull that did not end."""
        found = [
            DataError(f"{self.folder / key}: {problem}", self._hint())
            for key in self.manifest.files
            if (problem := self._problem(key)) is not None
        ]
        if not self.manifest.complete:
            found.insert(0, _unfinished(self.folder))
        return found

    def save(self) -> None:
        """Write the manifest.

        Raises:
            DataError: it cannot be written.
        """
        _write(self.folder / MANIFEST, [self.manifest.model_dump_json(indent=1).encode(), b"\n"])

    def _problem(self, key: str) -> str | None:
        """What is wrong with a copy; each is read once."""
        if key in self._sound:
            return None
        copy = self.manifest.files.get(key)
        if copy is None:
            return "was not pulled"
        try:
            digest, size = _digest(self.folder / key)
        except FileNotFoundError:
            return "is gone"
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if size != copy.bytes:
            return f"has {size} bytes, {copy.bytes} were fetched"
        if digest != copy.sha256:
            return "has another SHA-256 than what was fetched"
        self._sound.add(key)
        return None

    def _hint(self) -> str:
        return f"fetch it again where there is a network: maple data pull STUDY --to {self.folder}"


def is_pulled(folder: Path) -> bool:
    """Whether a folder was made by `maple data pull`.

    Raises:
        DataError: it cannot be looked into.
    """
    return exists(folder, MANIFEST)


def load(folder: Path) -> Pulled:
    """A pulled folder, for reading; it may be unfinished.

    Raises:
        DataError: no manifest, or none of this version.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{path}: not written by this version of maple data pull: {key}: {first['msg']}",
            "pull into another folder",
        ) from error
    for key in manifest.files:
        if PurePosixPath(key).is_absolute() or ".." in PurePosixPath(key).parts:
            raise DataError(f"{path}: files: {key!r} is not a path inside the folder")
    return Pulled(folder, manifest)


@contextmanager
def filling(folder: Path, study: str) -> Iterator[Pulled]:
    """A folder to pull into: a new or empty one, or one pulled before, which is gone on with.

    Raises:
        DataError: it holds something else, is being filled by another process, or cannot be
            written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _LOCK, timeout=0)
        lock.acquire()
    except (Timeout, OSError) as error:
        busy = isinstance(error, Timeout)
        what = "another pull fills it" if busy else error.strerror
        raise DataError(f"--to {folder}: {what}", "choose another folder") from error
    try:
        pulled = Pulled(folder, _begun(folder), filling=True)
        pulled.manifest.maple = provenance.versions()["maple"]
        for names in (pulled.manifest.studies, pulled.manifest.unfinished):
            if study not in names:
                names.append(study)
        pulled.save()
        yield pulled
    finally:
        lock.release()


def _begun(folder: Path) -> Manifest:
    """The manifest to go on with."""
    held = {path.name for path in folder.iterdir()} - {_LOCK}
    if MANIFEST in held:
        return load(folder).manifest
    if held:
        raise DataError(
            f"--to {folder}: holds other files ({min(held)}), expected a folder that is "
            "empty or was pulled before",
            "choose another folder",
        )
    return Manifest(maple="", created=provenance.utc_now())


@contextmanager
def opened(
    folder: Path | None, pins: Mapping[tuple[str, str], str]
) -> Iterator[tuple[Path | None, Reading]]:
    """Read from what `--data` names: a pulled folder, release files, or for None the hub.

    Args:
        folder: of the command line.
        pins: commits of hub datasets by repository and revision, fixed by an earlier plan.

    Yields:
        The folder to give to tasks and sources (None for a pulled one, which stands in for the
        hub), and what the command reads.

    Raises:
        DataError: no such folder, or it cannot be looked into; the pull has not finished; its
            manifest cannot be read.
    """
    mirror: Mirror | None = None
    if folder is not None and is_pulled(folder):
        mirror = pulled = load(folder)
        # What another study still lacks is missed only by whoever reads it.
        if set(pulled.manifest.studies) <= set(pulled.manifest.unfinished):
            raise _unfinished(folder)
        folder = None
    with reading(pins=pins, mirror=mirror) as found:
        yield folder, found


def _unfinished(folder: Path) -> DataError:
    return DataError(
        f"{folder}: the pull has not finished",
        f"the same command goes on with it: maple data pull STUDY --to {folder}",
    )


def _place(repo: str, commit: str, name: str) -> str:
    """Path of a file from the folder.

    Raises:
        DataError: it would lie outside.
    """
    path = PurePosixPath("hub", repo, commit, name)
    if ".." in path.parts or PurePosixPath(name).is_absolute():
        raise DataError(f"hub dataset {repo}: the file name {name!r} leads out of its folder")
    return str(path)


def _digest(path: Path) -> tuple[str, int]:
    """SHA-256 in hexadecimal digits, and bytes."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _write(path: Path, chunks: Iterable[bytes]) -> tuple[str, int]:
    """Write a file, which is there whole or not at all; returns its `_digest`."""
    temporary = path.with_name(f".{path.name}.part")
    digest, size = hashlib.sha256(), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
    return digest.hexdigest(), size
