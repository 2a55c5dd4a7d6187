"""serve-check.json: how near a server's answers came to the built-in engine's."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from maple.errors import StoreError
from maple.records import EvalCell, TrainCell
from maple.store.files import write_bytes
from maple.study.config import host

_FILE = "serve-check.json"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two engines on the same requests, through the same adapter or bare.

    Attributes:
        through: "untuned" or "adapter".
        requests: choice requests; `other_picks` of them have another most probable choice.
        mean, largest: absolute difference of a choice's log-probability, in nats per answer token,
            over all choices.
        repeat: largest such difference between two askings of the server.
        completions: generate requests; `first_differences` has for each that differs the number
            of tokens before the first other one.
    """

    through: str
    requests: int
    other_picks: int
    mean: float
    largest: float
    repeat: float
    completions: int
    first_differences: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ServeCheck:
    """A verdict on a server.

    Attributes:
        base: identity of the base model; `base_name` as it was given.
        bits: precision that the server was compared at.
        server: host, port and the version that the server gives itself.
        model: the base's name on the server.
        created: UTC, ISO 8601.
        tolerance: of `Agreement.mean`; see `maple.sweep.servecheck`.
        problems: why it was refused; empty where it passed.
    """

    base: str
    base_name: str
    bits: int
    server: str
    model: str
    created: str
    maple: str
    tolerance: float
    agreements: tuple[Agreement, ...]
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the server may stand in for the built-in engine."""
        return not self.problems

    def sentence(self) -> str:
        """The verdict in one sentence, without its subject."""
        if self.problems:
            return f"is refused: {'; '.join(self.problems)}"
        mean = max(agreement.mean for agreement in self.agreements)
        largest = max(agreement.largest for agreement in self.agreements)
        differing = sum(len(agreement.first_differences) for agreement in self.agreements)
        completions = sum(agreement.completions for agreement in self.agreements)
        return (
            f"agrees with the built-in engine: {mean:.2g} nats a token apart in the mean "
            f"(tolerance {self.tolerance:g}), {largest:.2g} at most; {differing} of "
            f"{completions} completions differ"
        )


_ADAPTER = TypeAdapter(ServeCheck)


def write(folder: Path, check: ServeCheck) -> Path:
    """Put a verdict into a results folder; the file's path."""
    path = folder / _FILE
    write_bytes(path, _ADAPTER.dump_json(check, indent=1) + b"\n")
    return path


def read(folder: Path) -> ServeCheck | None:
    """The verdict in a results folder, if there is one.

    Raises:
        StoreError: the file is no verdict of this version.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except ValidationError as error:
        raise StoreError(
            f"{path}: not a verdict of this version of maple",
            "delete the file and check the server again",
        ) from error


def server_notes(
    train: Mapping[str, TrainCell],
    evals: Mapping[str, EvalCell],
    url: str,
    model: str | None,
    folder: Path,
) -> list[str]:
    """What readers must know where a server answered: whether it was checked, and how it did.

    Args:
        train, evals: the cells of a plan.
        url, model: of the study's server.
        folder: the results folder.
    """
    cells = [cell for cell in evals.values() if cell.engine == "server"]
    check = read(folder) if cells else None
    bases = {(train[cell.train_id].base, cell.eval_bits): cell.train_id for cell in cells}
    adapters = {
        (train[cell.train_id].base, cell.eval_bits): cell.train_id
        for cell in cells
        if train[cell.train_id].method != "none"
    }
    found = []
    for (base, bits), name in sorted(bases.items()):
        adapter = adapters.get((base, bits))
        command = ["maple", "serve-check", train[name].base_name, "--url", url]
        command += ["--eval-bits", str(bits)]
        command += ["--server-model", model] if model else []
        command += ["--adapter", str(folder / "train" / adapter)] if adapter else []
        advice = f"do it once: {shlex.join([*command, '--out', str(folder)])}"
        fits = check is not None and (check.base, check.bits) == (base, bits)
        if check is None or not fits or model not in (None, check.model):
            found.append(
                "Answers come from a server that was not compared with the built-in engine; "
                f"{advice}"
            )
            continue
        said = (
            f"Answers come from a server. It was checked on {check.created[:10]} "
            f"({check.server}) and {check.sentence()}."
        )
        if check.server.partition(" ")[0] != host(url):
            said += f" The study now names the server at {host(url)}, which was not compared."
        if adapter and "adapter" not in {agreement.through for agreement in check.agreements}:
            said += f" No adapter was compared; {advice}"
        found.append(said)
    return found
