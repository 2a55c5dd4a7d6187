"""The report: one HTML page that needs no network, its tables as CSV, its figures as SVG."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from maple.report import csvs, curves, figures, ledger, rates, sentences, training
from maple.report.figures import Figure
from maple.report.gathered import Gathered, gather
from maple.report.samples import SampleView, samples
from maple.report.tables import TableView, table_view
from maple.store import Store
from maple.store.files import write_bytes

_REFRESH_SECONDS = 15
"""How often a page that follows a sweep loads itself again."""


@dataclass(frozen=True, slots=True)
class Section:
    """What the page says about one task under one metric."""

    table: TableView
    heatmaps: tuple[Figure, ...]
    bars: tuple[Figure, ...]
    samples: tuple[SampleView, ...]


def build(store: Store, out: Path | None = None, *, live: bool = False) -> Path:
    """Write a store's report: index.html, tables/*.csv, figures/*.svg.

    A pure function of the store: the same content gives the same bytes. Safe while a sweep runs.

    Args:
        store: what to report on.
        out: folder to write to; the store's own "report" by default.
        live: the page loads itself again in a browser, since it will be built again.

    Returns:
        The page's path.

    Raises:
        StoreError: no plan in the folder, a file that cannot be read, or `out` cannot be written.
    """
    gathered = gather(store)
    folder = out if out is not None else store.root / "report"
    sections = [_section(gathered, index) for index in range(len(gathered.tables))]
    losses = curves.curves(gathered)
    for name, content in csvs.tables(gathered).items():
        write_bytes(folder / "tables" / name, content)
    drawn = [*(figure for part in sections for figure in (*part.heatmaps, *part.bars)), *losses]
    for figure in drawn:
        write_bytes(folder / "figures" / f"{figure.name}.svg", figure.svg.encode())
    page = folder / "index.html"
    write_bytes(page, _render(gathered, sections, losses, live).encode())
    return page


def _section(gathered: Gathered, index: int) -> Section:
    table = gathered.tables[index]
    if not table.primary:
        return Section(table_view(gathered, table), (), (), ())
    return Section(
        table_view(gathered, table),
        tuple(figures.heatmaps(gathered, table)),
        tuple(figures.bars(gathered, table)),
        samples(gathered, table),
    )


def _render(gathered: Gathered, sections: list[Section], losses: list[Figure], live: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("maple.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = _inline
    plan = gathered.plan
    page = environment.get_template("page.html.j2").render(
        refresh=_REFRESH_SECONDS if live else None,
        title=plan.study.get("name", gathered.store.root.name),
        plan=plan,
        notes=gathered.notes,
        sentences=sentences.summary(gathered),
        sections=sections,
        training=training.training(gathered),
        training_data=ledger.training_data(gathered),
        held_out=training.held_out(gathered),
        losses=losses,
        cost=ledger.cost(gathered),
        preferred=rates.preferred(gathered),
        endings=rates.endings(gathered),
        rates=rates.rates(gathered),
        fertility=rates.fertility(gathered),
        failures=ledger.failures(gathered),
        provenance=ledger.provenance(gathered),
        bases=ledger.bases(gathered),
        identifiers=ledger.identifiers(gathered),
        study=json.dumps(plan.study, indent=2, ensure_ascii=False),
    )
    # The template's macros leave blank lines, which must not stand before the doctype.
    return page.lstrip()


def _inline(figure: Figure) -> Markup:
    """An SVG as an element of the page: named for readers of the screen, without namespaces."""
    # The figures are drawn by altair from numbers and labels; Vega escapes text in its SVG.
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", figure.svg)
    name = escape(figure.description)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{name}"', 1))  # noqa: S704
