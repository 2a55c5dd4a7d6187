"""`maple export`: a study's results in other programs' formats, in a folder of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from maple import provenance
from maple.errors import StoreError, nearest
from maple.report import csvs, export_hf_card, export_lm_eval, export_parquet
from maple.report.export_hf_card import Origins
from maple.report.gathered import Gathered, gather
from maple.store import Store
from maple.store.files import replace, write_bytes

Files = Mapping[str, Callable[[Path], object]]
"""What writes each file to a path, by its name within the folder."""

_LIST = "maple-export.json"
"""Says what an export has written, so that the next one replaces that and nothing else."""


def _csv(gathered: Gathered, _origins: Origins) -> Files:
    tables = csvs.tables(gathered)
    return {name: partial(Path.write_bytes, data=content) for name, content in tables.items()}


FORMATS: Mapping[str, Callable[[Gathered, Origins], Files]] = MappingProxyType(
    {
        "lm-eval": lambda gathered, _: export_lm_eval.files(gathered),
        "csv": _csv,
        "parquet": lambda gathered, _: export_parquet.files(gathered),
        "hf-card": export_hf_card.files,
    }
)


def export(store: Store, form: str, out: Path | None, origins: Origins) -> tuple[Path, ...]:
    """Write a store's results; an earlier export in the same folder is replaced.

    Args:
        store: what to export.
        form: one of `FORMATS`.
        out: the folder; export/<format> of the store by default.
        origins: where data are from, for cards.

    Returns:
        Paths of the files.

    Raises:
        StoreError: no such format, nothing to export, the folder holds something else than an
            earlier export of that format, or it cannot be written.
    """
    if form not in FORMATS:
        raise StoreError(f"--format {form}: there is no such format", nearest(form, FORMATS))
    folder = out if out is not None else store.root / "export" / form
    before = _written_before(folder, form)
    found = FORMATS[form](gather(store), origins)
    if not found:
        raise StoreError(f"{store.root}: nothing is finished that a {form} export could hold")
    # Both lists, until all is done: an export that is cut short is replaced by the next one.
    _put_list(folder, form, {*before, *found})
    for name, write in found.items():
        replace(folder / name, write)
    for name in before - found.keys():
        (folder / name).unlink(missing_ok=True)
    _put_list(folder, form, found)
    return tuple(folder / name for name in found)


def _written_before(folder: Path, form: str) -> set[str]:
    """Names of the files of an earlier export, cut short or not; refuses a folder with others."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder}: is no folder", "name another one with --out")
    names = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()
    } - {_LIST}
    listed = _listed(folder / _LIST, form)
    remnants = {name for name in names - listed if _is_remnant(name, listed)}
    strange = sorted(names - listed - remnants)
    if strange:
        raise StoreError(
            f"{folder}: holds something else than an earlier {form} export "
            f"({', '.join(strange[:3])})",
            "name a new folder with --out, or one that such an export has made",
        )
    return listed | remnants


def _listed(path: Path, form: str) -> set[str]:
    try:
        content = json.loads(path.read_bytes())
        made, names = content["format"], {str(name) for name in content["files"]}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: is not the list of an export", "name a new folder with --out"
        ) from error
    if made != form:
        raise StoreError(
            f"{path.parent}: holds an export in another format, {made}",
            "name a new folder with --out",
        )
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
        raise StoreError(
            f"{path}: lists files outside of its folder", "name a new folder with --out"
        )
    return names


def _is_remnant(name: str, listed: set[str]) -> bool:
    """Whether it is the temporary file of an export that was killed."""
    path = Path(name)
    found = re.fullmatch(r"\.(.+)\.[0-9a-f]{12}\.tmp", path.name)
    return found is not None and path.with_name(found[1]).as_posix() in {*listed, _LIST}


def _put_list(folder: Path, form: str, names: Iterable[str]) -> None:
    content = {
        "format": form,
        "maple": provenance.versions()["maple"],
        "files": sorted(names),
    }
    write_bytes(folder / _LIST, json.dumps(content, indent=1).encode() + b"\n")
