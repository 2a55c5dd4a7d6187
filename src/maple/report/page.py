"""The report: one HTML page that needs no network, its tables and figures as files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import jinja2
import vl_convert
from markupsafe import Markup

from maple.report import csvs, labels, ledger, payload, sentences, writing
from maple.report.figures import figures
from maple.report.gathered import Gathered, Table, gather
from maple.report.ledger import FailureView, Grid
from maple.report.references import references
from maple.report.tables import means, table_notes
from maple.store import Store
from maple.store.files import write_bytes

_OF_SUBSET = re.compile(r"[\w.:-]+/[\w.-]+: ")
"""How a note on a single subset begins: "xquad/spa_Latn: 6 items repeat a question"."""

_REFRESH_SECONDS = 15
"""How often a page that follows a sweep loads itself again."""


@dataclass(frozen=True, slots=True)
class MetricView:
    """A table of the page: its place in the data, and what must stand under it.

    Attributes:
        extra: tables that belong beside it, such as published references.
    """

    number: int
    anchor: str
    metric: str
    protocol: tuple[str, ...]
    caution: tuple[str, ...]
    extra: tuple[Grid, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """What the page says about one task: a table for each metric, the primary one first."""

    anchor: str
    title: str
    metrics: tuple[MetricView, ...]


def build(store: Store, out: Path | None = None, *, live: bool = False, items: bool = True) -> Path:
    """Read a store and write its report: `write` of what `gather` finds.

    Raises:
        StoreError: no plan in the folder, a file that cannot be read, or `out` cannot be written.
    """
    return write(gather(store), out, live=live, items=items)


def write(
    gathered: Gathered, out: Path | None = None, *, live: bool = False, items: bool = True
) -> Path:
    """Write a store's report: index.html, tables/*, figures/*.

    A pure function of the store: the same content gives the same bytes. Safe while a sweep runs.

    Args:
        gathered: what to report on.
        out: folder to write to; the store's own "report" by default.
        live: the page loads itself again in a browser, since it will be built again.
        items: whether texts of items, prompts and answers may be in it; messages of failures,
            which may quote them, go with them.

    Returns:
        The page's path.

    Raises:
        StoreError: a file cannot be read, or `out` cannot be written.
    """
    folder = out if out is not None else gathered.store.root / "report"
    for name, content in csvs.tables(gathered, items=items).items():
        write_bytes(folder / "tables" / name, content)
    shown = means(gathered)
    write_bytes(folder / "tables" / "macros.tex", writing.latex(shown).encode())
    write_bytes(folder / "tables" / "macros.md", writing.markdown(shown).encode())
    for figure in figures(gathered):
        write_bytes(folder / "figures" / f"{figure.name}.svg", figure.svg())
        write_bytes(folder / "figures" / f"{figure.name}.png", figure.png())
    page = folder / "index.html"
    write_bytes(page, _render(gathered, live=live, items=items).encode())
    return page


def _sections(gathered: Gathered) -> list[Section]:
    by_title: dict[str, list[tuple[int, Table]]] = {}
    for number, table in enumerate(gathered.tables):
        by_title.setdefault(table.title, []).append((number, table))
    return [
        Section(
            tables[0][1].anchor,
            title,
            tuple(_metric(gathered, number, table) for number, table in tables),
        )
        for title, tables in by_title.items()
    ]


def _metric(gathered: Gathered, number: int, table: Table) -> MetricView:
    notes = table_notes(gathered, table)
    metric = table.setting.metric
    published = references(gathered, table)
    extra = () if published is None else (published,)
    return MetricView(number, table.anchor, metric, notes.protocol, notes.caution, extra)


def _failures(gathered: Gathered, *, items: bool) -> Sequence[FailureView]:
    found = ledger.failures(gathered)
    if items:
        return found
    return [
        FailureView(one.kind, one.label, one.where, csvs.LEFT_OUT, one.exit_status, "")
        for one in found
    ]


def _render(gathered: Gathered, *, live: bool, items: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("maple.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed_two"] = labels.signed_two
    plan = gathered.plan
    content = payload.payload(gathered, items=items)
    scripts = [Markup(text) for text in (_vega(), _program())]  # noqa: S704 - our own
    page = environment.get_template("page.html.j2").render(
        refresh=_REFRESH_SECONDS if live else None,
        title=plan.study.get("name", gathered.store.root.name),
        plan=plan,
        notes=[note for note in gathered.notes if not _OF_SUBSET.match(note)],
        data_notes=[note for note in gathered.notes if _OF_SUBSET.match(note)],
        sentences=sentences.summary(gathered),
        findings=gathered.findings,
        sections=_sections(gathered),
        grids=content["grids"],
        with_adapters=any(cell.method != "none" for cell in plan.train.values()),
        with_curves=bool(content["curves"]),
        with_items=items,
        failures=_failures(gathered, items=items),
        provenance=ledger.provenance(gathered),
        bases=ledger.bases(gathered),
        identifiers=ledger.identifiers(gathered),
        study=_study(gathered),
        data=Markup(payload.to_json(content)),  # noqa: S704 - nothing in it ends the element
        scripts=scripts,
        hashes=[_hash(text) for text in scripts],
    )
    # The template's macros leave blank lines, which must not stand before the doctype.
    return page.lstrip()


def _study(gathered: Gathered) -> str:
    """The study as its file says it; the plan's copy has the paths of this machine."""
    path = gathered.store.root / "study.toml"
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return json.dumps(gathered.plan.study, indent=2, ensure_ascii=False)


@cache
def _vega() -> str:
    """Vega, Vega-Lite and its embedding as one script, handed on as `maple.embed`."""
    bundle = str(vl_convert.javascript_bundle("globalThis.maple = { embed: vegaEmbed };"))
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _program() -> str:
    """The page's own program: the files of `js`, in order of their names."""
    folder = resources.files("maple.report") / "js"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".js"))
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _hash(text: str) -> str:
    """By which the page's policy knows a script."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
