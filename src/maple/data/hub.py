"""Datasets on a Hugging Face hub: resolved to a commit, downloaded, read into rows.

Loading scripts are never run. Where a repository holds one instead of data, the hub's own
conversion to Parquet (branch `refs/convert/parquet`) is read, or the raw files beside the script.

Within one command (`data.reading`) each revision is resolved once, to the commit that an earlier
plan has fixed if there is one; a pulled folder (`data.pulled`) stands in for the hub.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from maple.data.reading import Snapshot, current
from maple.data.release import read_member, read_rows
from maple.data.rows import Row
from maple.errors import DataError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_CONVERTED = "refs/convert/parquet"
_HINT = (
    "without network or access, give a folder instead, of release files or made elsewhere by "
    "`maple data pull`: --data DIR"
)


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A dataset repository.

    The hub's address is taken from the environment variable HF_ENDPOINT at the time of a call.
    The user's token, where there is one, is read by huggingface_hub and appears in no message.

    Attributes:
        repo: "owner/name".
        revision: branch, tag or commit.
    """

    repo: str
    revision: str = "main"

    def commit(self) -> str:
        """The commit that `revision` stands for, 40 hexadecimal digits.

        Raises:
            DataError: no network, no such repository or revision, or no access to it.
        """
        return self._snapshot(self.revision).commit

    def rows(self, *patterns: str) -> list[Row]:
        """All rows of the files that match the first pattern that matches any, by file name.

        Args:
            patterns: file name patterns ("it/test-*.parquet") in order of preference; the files
                are Parquet, JSON Lines or JSON arrays, the latter two also gzip-compressed.

        Raises:
            DataError: as `commit`; no file matches; a file is broken or has no rows.
        """
        found = self._find(patterns)
        rows = [row for file in found.files for row in self._read(file, found.commit)]
        if not rows:
            raise DataError(
                f"hub dataset {self.repo} at {found.commit[:12]}: {found.files[0]} has no rows"
            )
        return rows

    def member(self, archive: str, name: str) -> list[Row]:
        """All rows of a JSON Lines file inside a tar archive, where a release is only that.

        Args:
            archive: file name of the archive, compressed by gzip, bzip2 or xz.
            name: of the file in it; in whatever folder of the archive.

        Raises:
            DataError: as `rows`; the archive is broken or has no such file.
        """
        found = self._find((archive,))
        path = self._fetch(found.files[0], found.commit)
        return read_member(path, name, self._shown(found.files[0], found.commit))

    def has(self, *patterns: str) -> bool:
        """Whether `rows` would find files.

        Raises:
            DataError: as `commit`.
        """
        return bool(self._match(patterns).files)

    def _find(self, patterns: Sequence[str]) -> Snapshot:
        """Commit and wanted files; at least one."""
        found = self._match(patterns)
        if not found.files:
            raise DataError(
                f"hub dataset {self.repo} at {found.commit[:12]}: no file matches "
                + " or ".join(patterns),
                _HINT,
            )
        return found

    def _match(self, patterns: Sequence[str]) -> Snapshot:
        main = self._snapshot(self.revision)
        wanted = _matching(main.files, patterns)
        if wanted or not any(file.endswith(".py") for file in main.files):
            return Snapshot(main.commit, wanted)
        converted = self._snapshot(_CONVERTED)
        found = _matching(converted.files, patterns)
        return Snapshot(converted.commit if found else main.commit, found)

    def _snapshot(self, revision: str) -> Snapshot:
        """Commit and file names of a revision: fixed by a plan, known to a mirror, or asked for."""
        now = current()
        key = (self.repo, revision)
        if key not in now.snapshots:
            pin = now.pins.get(key)
            known = now.mirror.snapshot(*key) if now.mirror else None
            if known is not None and pin not in (None, known.commit):
                raise DataError(
                    f"hub dataset {self.repo}: the results folder is fixed to {revision} at "
                    f"{pin[:12] if pin else ''}, the pulled folder has {known.commit[:12]}",
                    "choose another --out, or pull again with the --out of these results",
                )
            if known is None:
                known = self._ask(revision, pin)
                if now.mirror is not None:
                    now.mirror.keep_snapshot(*key, known)
            now.snapshots[key] = known
        return now.snapshots[key]

    def _ask(self, revision: str, pin: str | None) -> Snapshot:
        try:
            info = _api().dataset_info(self.repo, revision=pin or revision, timeout=30)
        except _errors() as error:
            if revision == _CONVERTED and pin is None and _no_revision(error):
                return Snapshot("", ())  # the hub converts neither large nor private datasets
            raise self._failure(error, revision, pin) from None
        files = sorted(sibling.rfilename for sibling in info.siblings or [])
        return Snapshot(info.sha or pin or revision, tuple(files))

    def _read(self, file: str, commit: str) -> list[Row]:
        path, name = self._fetch(file, commit), self._shown(file, commit)
        return read_rows(path, name)

    def _shown(self, file: str, commit: str) -> str:
        return f"{self.repo}@{commit[:12]}/{file}"

    def _fetch(self, file: str, commit: str) -> Path:
        """Path of a file on this machine."""
        mirror = current().mirror
        path = mirror.file(self.repo, commit, file) if mirror else None
        if path is not None:
            return path
        try:
            path = Path(
                _api().hf_hub_download(self.repo, file, repo_type="dataset", revision=commit)
            )
        except _errors() as error:
            raise self._failure(error, commit, None, file) from None
        if mirror is not None:
            mirror.keep_file(self.repo, commit, file, path)
        return path

    def _failure(
        self, error: Exception, revision: str, pin: str | None, file: str = ""
    ) -> DataError:
        """One message for everything that can go wrong between here and the hub.

        The error's own text is left out, since it may quote the request; so is its chain.
        """
        from huggingface_hub import errors

        if pin is not None and _no_revision(error):
            return DataError(
                f"hub dataset {self.repo}: {revision} was fixed to commit {pin[:12]}, which the "
                "hub has no more",
                "choose another --out to start again from what the hub has now",
            )
        status = getattr(getattr(error, "response", None), "status_code", None)
        lost = "the connection to the hub failed or was lost"
        reasons: Sequence[tuple[type[Exception], str]] = (
            (errors.GatedRepoError, "its owner must grant access first (huggingface.co, log in)"),
            (errors.RepositoryNotFoundError, "no such dataset, or it is private"),
            (errors.RevisionNotFoundError, "no such revision"),
            (errors.EntryNotFoundError, "the file is missing or could not be fetched"),
            (errors.HfHubHTTPError, f"the hub answered with an error (status {status})"),
            (errors.OfflineModeIsEnabled, "HF_HUB_OFFLINE is set"),
            (errors.HFValidationError, "not the name of a dataset"),
            (ConnectionError, lost),
            (TimeoutError, lost),
            (OSError, _on_disk(error)),
        )
        reason = next((text for kind, text in reasons if isinstance(error, kind)), lost)
        where = f"hub dataset {self.repo} at {revision}" + (f", {file}" if file else "")
        return DataError(f"{where}: {reason} ({type(error).__name__})", _HINT)


def _api() -> HfApi:
    from huggingface_hub import HfApi  # 300 ms; reading local files does without

    # huggingface_hub reads HF_ENDPOINT when it is imported; a later change must count as well.
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="maple")


def _errors() -> tuple[type[Exception], ...]:
    # Whose HTTPError it is (httpx's or a fork's) depends on the version of huggingface_hub.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        EntryNotFoundError,
        HFValidationError,
        HTTPError,
    )

    return (HTTPError, HFValidationError, EntryNotFoundError, OSError)


def _on_disk(error: Exception) -> str:
    """An OSError of the download that is none of the network: the cache, or a short file."""
    if isinstance(error, OSError) and error.strerror:
        return f"it cannot be kept in the hub's cache: {error.strerror}"
    return "a file came incomplete"


def _no_revision(error: Exception) -> bool:
    from huggingface_hub.errors import RevisionNotFoundError

    return isinstance(error, RevisionNotFoundError)


def _matching(files: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    for pattern in patterns:
        found = tuple(file for file in files if fnmatchcase(file, pattern))
        if found:
            return found
    return ()
