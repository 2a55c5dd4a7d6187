"""Base models from a model hub: the commit, and only the files that are safe to load."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub import errors as hub_errors
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from maple.errors import ModelError, ModelOutOfReachError
from maple.models.hashing import TOKENIZER_FILES

# The base of the transport library's errors; the library itself (httpx, httpx2) changes with the
# hub client's version, so it is not imported by name.
_TransportError: type[Exception] = hub_errors.HTTPError  # type: ignore[attr-defined]

_UNREACHABLE = (_TransportError, ConnectionError, TimeoutError, LocalEntryNotFoundError)

# Never *.bin, *.pt or *.py: pickles and remote code stay on the hub.
_PATTERNS = ("config.json", "generation_config.json", *TOKENIZER_FILES)
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def snapshot(hub_id: str, revision: str | None, *, weights: bool = True) -> tuple[Path, str]:
    """The files of a hub model at one commit, downloaded into the hub's cache.

    Offline (HF_HUB_OFFLINE) the cached snapshot is taken. HF_ENDPOINT is honoured.

    Args:
        hub_id: "org/name".
        revision: branch, tag or commit; None for the default branch.
        weights: them, too; a plan does without.

    Returns:
        The folder and the commit (40 hexadecimal digits).

    Raises:
        ModelOutOfReachError: gated or unreachable.
        ModelError: unknown, or files that cannot be kept; tokens are never part of the message.
    """
    patterns = [*_PATTERNS, *(_WEIGHTS if weights else ())]
    try:
        if constants.HF_HUB_OFFLINE:
            folder = Path(
                snapshot_download(
                    hub_id, revision=revision, allow_patterns=patterns, local_files_only=True
                )
            )
        else:
            # Asked first, because without a network the download would quietly fall back on the
            # cache. The branch's name is passed on, so that the cache knows it when offline.
            HfApi().model_info(hub_id, revision=revision)
            folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except (_TransportError, HFValidationError, OSError) as error:
        raise _explained(hub_id, revision, error) from None
    return folder, folder.name  # the cache names snapshots by their commit


def _explained(hub_id: str, revision: str | None, error: Exception) -> ModelError:
    """The library's error in one sentence; its own text may quote headers, so it is left out."""
    where = f"base model {hub_id!r}"
    if isinstance(error, GatedRepoError):
        return ModelOutOfReachError(
            f"{where}: access is restricted by its owner",
            f"accept its terms at {constants.ENDPOINT}/{hub_id} and run `hf auth login`",
        )
    if isinstance(error, RevisionNotFoundError):
        return ModelError(f"{where}: no revision {revision!r} on {constants.ENDPOINT}")
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(
            f"{where}: no such file or folder here, and no such model on {constants.ENDPOINT}",
            "check the spelling; for a private model run `hf auth login`",
        )
    if constants.HF_HUB_OFFLINE:
        return ModelOutOfReachError(
            f"{where}: not in the local cache, and HF_HUB_OFFLINE is set",
            "unset HF_HUB_OFFLINE, or download it where there is a network",
        )
    if isinstance(error, HFValidationError):
        return ModelError(f"{where}: not a valid hub id", "a hub id reads org/name")
    if isinstance(error, _UNREACHABLE):
        status = getattr(getattr(error, "response", None), "status_code", None)
        reason = f"answered {status}" if status else "cannot be reached"
        return ModelOutOfReachError(
            f"{where}: {constants.ENDPOINT} {reason}",
            "check the network; HF_HUB_OFFLINE=1 takes a snapshot already in the cache, "
            "demo:gemma-3-270m and local folders need no network",
        )
    return ModelError(f"{where}: download failed ({type(error).__name__})")
