"""Which rows of a source a training cell sees, and the hash that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from maple.data.shares import divide, least, most, shares
from maple.errors import DataError
from maple.languages import ENGLISH
from maple.protocols import TrainingSource
from maple.records import InstructionRow, LanguageRows, Mixture


@dataclass(frozen=True, slots=True)
class Selection:
    """What was drawn.

    Attributes:
        rows: to train on, languages mixed, in the order of their hashes.
        validation: rows that are not trained on, in the same order.
        table: by language.
        remarks: what must be said of the files.
    """

    rows: tuple[InstructionRow, ...]
    validation: tuple[InstructionRow, ...]
    table: tuple[LanguageRows, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Pool:
    """The rows of one language in the order in which they are drawn.

    Attributes:
        count: of them all.
        first, last: as many of them as could be needed, to train on and to hold out.
    """

    source: str
    count: int
    first: Sequence[InstructionRow]
    last: Sequence[InstructionRow]
    empty: int
    unpaired: int
    remark: str


def select(
    source: TrainingSource,
    mixture: Mixture,
    languages: Sequence[str],
    folder: Path | None,
    lender: TrainingSource | None = None,
    held_out: int = 0,
) -> Selection:
    """A sample of the mixture's rows, by its shares of the languages.

    Each row of each language has a place in an order that depends on the seed, its language and
    its id alone; where all languages have the same ids, on the seed and its id. The first rows of
    that order are taken, without replacement, and the last ones are held out. So a larger sample
    contains every smaller one of the same seed and shares, and what is held out changes no sample
    that leaves enough over.

    Args:
        source: where the rows come from.
        mixture: how many of which language; without a number of rows and of shares, all there are.
        languages: keys, in any order, each once. What is left over after an even split goes to
            the first languages by key.
        folder: release files; None to read from the hub.
        lender: where English rows come from if the source has none.
        held_out: rows of each language that are not trained on.

    Raises:
        DataError: a language twice or none at all, fewer rows than languages, more rows asked for
            than a language has (saying how many it has), no English where a share of it is asked,
            ids that mean nothing, or what the source raises.
    """
    origins = _origins(source, mixture, languages, lender)
    same = source.same_ids if mixture.same_ids is None else mixture.same_ids
    if same and not source.parallel:
        raise DataError(
            f"training source {source.name}: its rows have no ids that languages share",
            "leave same_ids out",
        )
    total = mixture.rows
    if total is None and source.rows_each is not None:
        total = source.rows_each * len(languages)
    if same:
        pools = _paired(source, origins, mixture.seed, folder, held_out)
    else:
        bounds = _bounds(mixture, origins, total)
        pools = {
            key: _pool(
                origin,
                key,
                mixture.seed,
                folder,
                bounds.get(key),
                held_out,
                lent=origin is not source,
            )
            for key, origin in origins.items()
        }
    quotas = _quotas(mixture, pools, total, held_out)
    chosen = [row for key, quota in quotas.items() for row in pools[key].first[:quota]]
    kept = [row for key in quotas for row in pools[key].last]
    return Selection(
        _mixed(chosen, mixture.seed),
        _mixed(kept, mixture.seed),
        tuple(_line(key, quotas[key], pools[key]) for key in sorted(quotas)),
        tuple(dict.fromkeys(f"{p.source}: {p.remark}" for p in pools.values() if p.remark)),
    )


def content_hash(rows: Iterable[InstructionRow]) -> str:
    """SHA-256 over the rows, written as JSON lines with sorted keys.

    Args:
        rows: in the order of training, which counts.

    Returns:
        "sha256:" and 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for row in rows:
        fields = asdict(row)
        if not row.turns:  # which no row had when the first hashes were made
            del fields["turns"]
        line = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        digest.update(line.encode("utf-8") + b"\n")
    return f"sha256:{digest.hexdigest()}"


def last_rows(
    source: TrainingSource, language: str, seed: int, folder: Path | None, count: int
) -> tuple[InstructionRow, ...]:
    """The last rows of a language's order, or all of them if it has fewer.

    Raises:
        DataError: what the source raises.
    """
    return tuple(_pool(source, language, seed, folder, 0, count).last)


def characters(row: InstructionRow) -> int:
    """Characters of a row's texts, those of earlier turns among them."""
    told = sum(len(text) for _, text in row.turns)
    return told + len(row.instruction) + len(row.input) + len(row.output)


def _origins(
    source: TrainingSource,
    mixture: Mixture,
    languages: Sequence[str],
    lender: TrainingSource | None,
) -> dict[str, TrainingSource]:
    """Where the rows of each language come from."""
    keys = sorted(languages)
    if not keys or len(set(keys)) < len(keys):
        raise DataError(f"languages to train on: {keys}, expected at least one, each once")
    found = dict.fromkeys(keys, source)
    if mixture.english is None:
        return found
    found.pop(ENGLISH, None)
    if not found:
        raise DataError(
            f"a share of {mixture.english:g} of English, and no other language",
            "name other languages, or leave english out",
        )
    if mixture.english:
        english = source if ENGLISH in source.languages else lender
        if english is None:
            raise DataError(
                f"training source {source.name} has no {ENGLISH}, and a share of it is asked for",
                'say where its rows come from: english_from = "bactrian-x"',
            )
        found[ENGLISH] = english
    return found


def _bounds(mixture: Mixture, keys: Iterable[str], total: int | None) -> Mapping[str, int]:
    """Rows that a language will need at most, where that is known before any is read."""
    if total is None:
        return {}
    if mixture.weights != "uniform":
        return dict.fromkeys(keys, total)
    return divide(shares(mixture, dict.fromkeys(keys, 1)), total)


def _pool(
    source: TrainingSource,
    language: str,
    seed: int,
    folder: Path | None,
    bound: int | None,
    held_out: int,
    *,
    lent: bool = False,
) -> _Pool:
    """The rows of a language; at most `bound` of them are needed to train on."""
    loaded = source.load(language, folder)
    found: Iterable[InstructionRow] = loaded.rows
    if lent:  # named apart from the rows of the source that it is lent to
        found = (replace(row, row_id=f"{source.name}/{row.row_id}") for row in found)
    ordered = sorted(found, key=lambda row: _place(seed, row))
    last = ordered[-held_out:] if held_out else []
    return _Pool(source.name, len(ordered), ordered[:bound], last, loaded.empty, 0, loaded.remark)


def _paired(
    source: TrainingSource,
    origins: Mapping[str, TrainingSource],
    seed: int,
    folder: Path | None,
    held_out: int,
) -> dict[str, _Pool]:
    """As `_pool`, of the ids that all languages of the source have; a lent language has its own."""
    loaded = {key: source.load(key, folder) for key, of in origins.items() if of is source}
    common = set.intersection(*({row.row_id for row in one.rows} for one in loaded.values()))
    if not common:
        raise DataError(
            f"training source {source.name}: no id has an output in all of {', '.join(loaded)}",
            "leave same_ids out, or train on fewer languages",
        )
    places = {name: _hash(seed, "", name) for name in common}
    pools = {}
    for key, origin in origins.items():
        if origin is not source:
            pools[key] = _pool(origin, key, seed, folder, None, held_out, lent=True)
            continue
        one = loaded[key]
        rows = sorted(
            (row for row in one.rows if row.row_id in common), key=lambda row: places[row.row_id]
        )
        last = rows[-held_out:] if held_out else []
        unpaired = len(one.rows) - len(rows)
        pools[key] = _Pool(source.name, len(rows), rows, last, one.empty, unpaired, one.remark)
    return pools


def _quotas(
    mixture: Mixture, pools: Mapping[str, _Pool], total: int | None, held_out: int
) -> dict[str, int]:
    """Rows to train on by language."""
    counts = {key: pool.count for key, pool in pools.items()}
    available = {key: count - held_out for key, count in counts.items()}
    for key, left in available.items():
        if left < 1:
            raise DataError(
                f"training source {pools[key].source} has {counts[key]} rows in {key}, and "
                f"{held_out} are to be held out for validation",
                "hold out fewer",
            )
    if total is None and not (
        mixture.weights == "temperature" or mixture.classes or mixture.english
    ):
        return available
    shared = shares(mixture, counts)
    if total is None:
        total = most(shared, available)
    if total < least(shared):
        raise DataError(
            f"{total} rows for {len(shared)} languages: some would get none",
            f"ask for at least {least(shared)} rows",
        )
    quotas = divide(shared, total)
    short = [key for key in sorted(quotas) if quotas[key] > available[key]]
    if short:
        kept = f", beside {held_out} held out for validation" if held_out else ""
        lacking = "; ".join(
            f"training source {pools[key].source} has {available[key]} rows in {key}{kept}, "
            f"{quotas[key]} were asked for"
            for key in short
        )
        raise DataError(
            lacking,
            f"ask for at most {most(shared, available)} rows over {len(quotas)} languages",
        )
    return quotas


def _line(key: str, rows: int, pool: _Pool) -> LanguageRows:
    return LanguageRows(
        language=key,
        source=pool.source,
        rows=rows,
        characters=sum(map(characters, pool.first[:rows])),
        empty=pool.empty,
        unpaired=pool.unpaired,
        held_out=len(pool.last),
    )


def _mixed(rows: Iterable[InstructionRow], seed: int) -> tuple[InstructionRow, ...]:
    return tuple(sorted(rows, key=lambda row: _place(seed, row)))


def _place(seed: int, row: InstructionRow) -> bytes:
    return _hash(seed, row.language, row.row_id)


def _hash(seed: int, language: str, row_id: str) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{language}\x1f{row_id}".encode()).digest()
