"""Datasets on a Hugging Face hub: resolved to a commit, downloaded, read into rows.

Loading scripts are never run. Where a repository holds one instead of data, the hub's own
conversion to Parquet (branch `refs/convert/parquet`) is read.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from maple.data.release import read_jsonl
from maple.data.rows import Row
from maple.errors import DataError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import DatasetInfo

_CONVERTED = "refs/convert/parquet"
_HINT = "without network or access, give a folder of release files instead: --data DIR"


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
        """The commit that `revision` stands for now, 40 hexadecimal digits.

        Raises:
            DataError: no network, no such repository or revision, or no access to it.
        """
        return self._resolve(self.revision)[0]

    def rows(self, *patterns: str) -> list[Row]:
        """All rows of the files that match the first pattern that matches any, by file name.

        Args:
            patterns: file name patterns ("it/test-*.parquet") in order of preference; the files
                are Parquet, or JSON Lines, plain or gzip-compressed.

        Raises:
            DataError: as `commit`; no file matches; a file is broken or has no rows.
        """
        commit, files = self._resolve(self.revision)
        wanted = _matching(files, patterns)
        if not wanted and any(file.endswith(".py") for file in files):
            commit, files = self._resolve(_CONVERTED)
            wanted = _matching(files, patterns)
        if not wanted:
            raise DataError(
                f"hub dataset {self.repo} at {commit[:12]}: no file matches "
                + " or ".join(patterns),
                _HINT,
            )
        rows = [row for file in wanted for row in self._read(file, commit)]
        if not rows:
            raise DataError(f"hub dataset {self.repo} at {commit[:12]}: {wanted[0]} has no rows")
        return rows

    def _resolve(self, revision: str) -> tuple[str, list[str]]:
        """Commit and file names of a revision."""
        try:
            info = self._info(revision)
        except _errors() as error:
            raise self._failure(error, revision) from None
        files = sorted(sibling.rfilename for sibling in info.siblings or [])
        return info.sha or revision, files

    def _info(self, revision: str) -> DatasetInfo:
        return _api().dataset_info(self.repo, revision=revision, timeout=30)

    def _read(self, file: str, commit: str) -> list[Row]:
        try:
            path = Path(
                _api().hf_hub_download(self.repo, file, repo_type="dataset", revision=commit)
            )
        except _errors() as error:
            raise self._failure(error, commit) from None
        name = f"{self.repo}@{commit[:12]}/{file}"
        return _parquet(path, name) if file.endswith(".parquet") else read_jsonl(path, name)

    def _failure(self, error: Exception, revision: str) -> DataError:
        """One message for everything that can go wrong between here and the hub.

        The error's own text is left out, since it may quote the request; so is its chain.
        """
        from huggingface_hub import errors

        reasons: Sequence[tuple[type[Exception], str]] = (
            (errors.GatedRepoError, "its owner must grant access first (huggingface.co, log in)"),
            (errors.RepositoryNotFoundError, "no such dataset, or it is private"),
            (errors.RevisionNotFoundError, "no such revision"),
            (errors.EntryNotFoundError, "a file is missing or could not be fetched"),
            (errors.HfHubHTTPError, "the hub answered with an error"),
            (OSError, "no connection to the hub"),
        )
        reason = next((text for kind, text in reasons if isinstance(error, kind)), "no connection")
        return DataError(
            f"hub dataset {self.repo} at {revision}: {reason} ({type(error).__name__})", _HINT
        )


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


def _matching(files: Sequence[str], patterns: Sequence[str]) -> list[str]:
    for pattern in patterns:
        found = [file for file in files if fnmatchcase(file, pattern)]
        if found:
            return found
    return []


def _parquet(path: Path, name: str) -> list[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        values = parquet.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{name}: not a readable Parquet file ({type(error).__name__})",
            "delete it from the hub cache and try again",
        ) from error
    return [Row(f"{name}:{number}", number, row) for number, row in enumerate(values, start=1)]
