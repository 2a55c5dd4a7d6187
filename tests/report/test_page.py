"""The page: what comes first, what it shows, what it never does."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

from maple.analysis.findings import Finding, Part
from maple.errors import StoreError
from maple.records import Failure
from maple.report import build, figures, summary
from maple.report import page as module
from maple.report.gathered import gather
from maple.report.ledger import Grid
from maple.report.payload import payload
from maple.report.writing import latex, markdown
from maple.store import Record, Store
from report.fake_store import FORMULA, HOSTILE, NOTES, Fake, filled, planned, put_training


class Page(HTMLParser):
    """Tags with attributes, and the text in order; complains about tags that do not match."""

    void: ClassVar[set[str]] = {"meta", "br", "img", "link", "input", "hr"}

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(content)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and not {"style", "title", "script"} & set(self.open):
            self.texts.append(" ".join(data.split()))


def test_notes_come_first_in_order(page: str) -> None:
    assert Page(page).texts[:2] == list(NOTES)


def test_the_summary_and_the_cautions_need_no_program(page: str) -> None:
    text = " ".join(Page(page).texts)
    assert (
        "34 of 36 evaluation cells done, 1 failed, 1 pending. "
        "Findings leave out adapters that lack a cell of what is compared."
    ) in text
    assert "Chance: 50.0." in text
    # Four items of 40 differ: by sign flips p is 2 / 16 at the least.
    assert "▲ or ▼: the interval of the difference excludes 0, which 11 of 11" in text
    assert "Doubled (▲▲, ▼▼): its p-value by sign flips is below 0.05 after correction" in text
    assert "too, as 0 are (languages" in text
    assert (
        "With 20 clusters or fewer, intervals of scores near 0 or 100 are somewhat narrower" in text
    )


def test_a_protocol_line_stands_under_every_table(page: str) -> None:
    lines = re.findall(r'<p class="protocol">(.*?)</p>', page, flags=re.DOTALL)
    assert len(lines) == page.count('<div class="metric"') == 4
    for piece in ("xquad, dataset mini, 3 subsets", "prompt native, 2 exemplars (seed 0)"):
        assert sum(piece in line for line in lines) in {2, 4}
    assert "greedy decoding, at most 32 new tokens" in lines[2]
    assert "metric f1, version 1, rules none" in lines[2]
    assert "4 bits: engine builtin, computing in bfloat16" in lines[2]
    assert "40 items a subset in 10 clusters, no limit" in lines[2]


def test_failed_cells_are_visible(page: str) -> None:
    text = " ".join(Page(page).texts)
    assert "evaluation: xquad, arb_Arab" in text
    assert "Traceback: <b>out of memory</b>" in text


def test_hostile_text_stays_text(page: str) -> None:
    parsed = Page(page)
    assert {"img", "iframe", "object", "embed", "link"}.isdisjoint(tag for tag, _ in parsed.tags)
    assert not any(name.startswith("on") for _, attributes in parsed.tags for name in attributes)
    assert f"{FORMULA} {HOSTILE}" in " ".join(parsed.texts)
    # The data and two programs: nothing that a model wrote ended or began a script.
    assert page.count("<script") == page.count("</script") == 3
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    assert not set("<>&") & set(found.group(1))
    assert HOSTILE in json.dumps(json.loads(found.group(1)), ensure_ascii=False)


def test_the_policy_lets_nothing_else_run(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy.group(1).startswith("default-src 'none'; style-src 'unsafe-inline'; script-src ")
    for script in re.findall(r'<script type="module">(.*?)</script>', page, flags=re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy.group(1)


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    for tag, attributes in Page(page).tags:
        for name in ("src", "srcset", "data", "action", "poster", "xlink:href", "background"):
            assert name not in attributes, tag
        assert (attributes.get("href") or "#").startswith("#"), tag
    style = page[page.index("<style>") : page.index("</style>")]
    assert not re.search(r"url\(|@import", style)
    ids = [attributes["id"] for _, attributes in Page(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"] for _, attributes in Page(page).tags if "href" in attributes}
    assert targets <= {f"#{name}" for name in ids}


def test_every_table_has_a_caption(page: str) -> None:
    static = page[: page.index('<script type="application/json"')]
    assert static.count("<caption>") == static.count("<table") > 0


def test_figures_are_kept_as_files(report: Path) -> None:
    names = {path.name for path in (report / "figures").iterdir()}
    kinds = ("heatmap-xcopa-acc", "slopes-xquad-f1", "pareto-xcopa-acc", "training")
    assert {f"{name}.{ending}" for name in kinds for ending in ("svg", "png")} <= names
    assert len(names) == 14
    heatmap = (report / "figures" / "heatmap-xquad-f1.svg").read_text(encoding="utf-8")
    assert "+10.0 ▲" in heatmap
    assert "unfinished" in heatmap
    assert (report / "figures" / "training.png").read_bytes().startswith(b"\x89PNG")


def test_means_are_written_for_a_paper(report: Path) -> None:
    latex = (report / "tables" / "macros.tex").read_text(encoding="utf-8")
    assert "\\toprule" in latex
    row = "LoRA r=8, 4 bits, mini, seed 0 & xcopa & acc & 60.0 & [44.3, 75.7] & +10.0 "
    assert row + "$\\blacktriangle$ & [+2.2, +20.5] & 3 of 3 \\\\" in latex
    assert "Mean over" not in latex.replace("% Means over", "")
    markdown = (report / "tables" / "macros.md").read_text(encoding="utf-8")
    assert "| LoRA r=8, 4 bits, mini, seed 0 | xcopa | acc\\_norm | 60.0 | " in markdown


def test_hostile_texts_are_text_in_latex_and_markdown() -> None:
    grid = Grid("x", ("a\\b", "c"), ((r"\input{x} 50 % & $1_2^3#~", "</td>|`**\n"),))
    assert latex(grid) == (
        "\\begin{tabular}{ll}\n\\toprule\na\\textbackslash{}b & c \\\\\n\\midrule\n"
        "\\textbackslash{}input\\{x\\} 50 \\% \\& \\$1\\_2\\textasciicircum{}3\\#"
        "\\textasciitilde{} & \\textless{}/td\\textgreater{}|`** \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )
    assert markdown(grid).splitlines()[2].endswith(r"| \</td\>\|\`\*\* |")


def test_findings_have_a_verdict_an_effect_and_a_reason(fake: Fake) -> None:
    part = Part("xcopa", 0.5, -0.25, 1.25, 0.04, "points")
    finding = Finding(
        *("H1", f"Rank helps {HOSTILE}", "undecided", -0.5, -1.5, 0.5, "points a doubling"),
        contrast="low against high",
        reason="The interval holds 0.",
        parts=(part, Part("xquad", None, None, None, None, "points")),
    )
    page = Page(
        module._render(
            dataclasses.replace(gather(fake.store), findings=(finding,)), live=False, items=False
        )
    )
    text = " ".join(page.texts)
    assert f"H1 Rank helps {HOSTILE} undecided −0.50 [−1.50, +0.50] points a doubling" in text
    assert "2 numbers behind it xcopa: +0.50 [−0.25, +1.25] points, p 0.040" in text
    assert "xquad: –" in text
    nothing = dataclasses.replace(finding, effect=-0.001, low=0.0, high=0.004, parts=(part,))
    rendered = module._render(
        dataclasses.replace(gather(fake.store), findings=(nothing,)), live=False, items=False
    )
    text = " ".join(Page(rendered).texts)
    assert "undecided 0.00 [0.00, 0.00] points a doubling" in text
    assert "1 number behind it" in text
    assert ("section", {"id": "findings"}) in page.tags
    assert ("section", {"id": "findings"}) not in Page(
        module._render(
            dataclasses.replace(gather(fake.store), findings=()), live=False, items=False
        )
    ).tags


def test_a_report_without_items_has_no_text_of_them(fake: Fake, tmp_path: Path) -> None:
    build(fake.store, tmp_path, items=False)
    files = [
        path for path in tmp_path.rglob("*") if path.suffix in {".html", ".csv", ".tex", ".md"}
    ]
    assert len(files) == 20
    for path in files:
        text = re.sub(
            r'<script type="module">.*?</script>', "", path.read_text("utf-8"), flags=re.DOTALL
        )
        for said in ("kettle", "The lid was shut", "onerror", "HYPERLINK", "xcopa-000", "الإبريق"):
            assert said not in text, path
    assert "made without the texts" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_what_was_deleted_is_not_called_done(tmp_path: Path) -> None:
    fake = filled(tmp_path, items=8)
    asked = {n: fake.cell("xcopa", "swh_Latn", n, 4) for n in (8, 64)}
    fake.store.eval_path(asked[8], fake.plan.evals[asked[8]]).unlink()
    score_id, score = next(
        (name, one) for name, one in fake.plan.scores.items() if one.eval_id == asked[64]
    )
    fake.store.score_path(score_id, score).unlink()
    text = " ".join(Page(build(fake.store).read_text(encoding="utf-8")).texts)
    # One was pending before, too.
    assert "33 of 36 evaluation cells done, 1 failed, 2 pending" in text
    assert "1 evaluation cell not scored yet" in text
    shown = (tmp_path / "report" / "tables" / "scores.csv").read_text(encoding="utf-8")
    states = {row["eval_id"]: row["status"] for row in csv.DictReader(io.StringIO(shown))}
    assert states[asked[8]] == "pending"


def test_prompts_that_cannot_be_read_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    fake = filled(tmp_path, items=8)
    for path in (tmp_path / "items" / "xcopa" / "arb_Arab" / "prompts").iterdir():
        path.write_text('{"prefix": 1')
    found = payload(gather(fake.store), items=True)["items"]["subsets"]
    lost = [one["lost"] for one in found if one["lost"]]
    assert lost == [
        "The stored prompts of this subset cannot be read (items/xcopa/arb_Arab/prompts)."
    ]
    assert all(one["prefix"] for one in found if not one["lost"])


def test_the_same_store_gives_the_same_bytes(fake: Fake, report: Path, tmp_path: Path) -> None:
    again = build(fake.store, tmp_path).parent
    files = sorted(path.relative_to(report) for path in report.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in files:
        assert (again / name).read_bytes() == (report / name).read_bytes(), name


def test_a_store_where_nothing_has_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_plan(planned(), b"")
    page = build(store).read_text(encoding="utf-8")
    text = " ".join(Page(page).texts)
    assert "0 of 4 adapters done, 4 pending; 0 of 36 evaluation cells done, 36 pending." in text
    assert "nothing scored yet" in text
    assert not (tmp_path / "report" / "figures").exists()


def test_a_study_that_only_trains(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), planned(evaluate=False)
    store.put_plan(plan, b"")
    first, second = list(plan.train)[:2]
    put_training(store, first, plan.train[first])
    store.put_record(
        Record(
            kind="train",
            id=second,
            status="failed",
            cell=plan.train[second],
            started="2025-11-03T09:00:01Z",
            finished="2025-11-03T09:00:02Z",
            provenance={},
            failure=Failure("out of memory", exit_status=-9),
        )
    )
    text = " ".join(Page(build(store).read_text(encoding="utf-8")).texts)
    assert "trains 4 adapters on tiny (r 8, 64; bits 4, 16; seed 0) and evaluates nothing." in text
    assert "1 of 4 adapters done, 1 failed, 2 pending." in text
    assert "out of memory" in text
    assert 'data-figure="curves"' in build(store).read_text(encoding="utf-8")


def test_seeds_are_rows_of_their_own_and_share_a_place_in_figures(tmp_path: Path) -> None:
    gathered = gather(filled(tmp_path, items=8, seeds=(0, 1)).store)
    table = gathered.tables[0]
    labels = [line.label for line in table.lines if line.eval_bits == 4]
    assert labels == [
        "untuned, 4 bits",
        "LoRA r=8, 4 bits, mini, seed 0",
        "LoRA r=8, 4 bits, mini, seed 1",
        "LoRA r=64, 4 bits, mini, seed 0",
        "LoRA r=64, 4 bits, mini, seed 1",
    ]
    rows = next(one for one in figures.figures(gathered) if one.name == "heatmap-xcopa-acc")
    cells = [
        (row["panel"], row["r"], row["bits"]) for row in rows.spec["datasets"]["rows"]
    ]  # both seeds in one
    assert cells == [("tiny; mini; LoRA", r, bits) for bits in ("4", "16") for r in ("8", "64")]


def test_where_nothing_has_an_interval_none_is_counted(tmp_path: Path) -> None:
    text = " ".join(Page(build(filled(tmp_path, items=1).store).read_text(encoding="utf-8")).texts)
    assert "(no interval) with LoRA r=8, 4 bits, mini, seed 0 (the worst); the best of" in text
    assert "wholly" not in text


def test_figures_show_names_that_xml_cannot_hold() -> None:
    spec = {"mark": "text", "encoding": {"text": {"field": "name"}}}
    rows = [{"name": "a\x1b[31mb\ud800\ufffe"}]
    figure = figures.Figure(
        "odd", {**spec, "data": {"name": "rows"}, "datasets": {"rows": rows}, "title": "t\x00"}
    )
    assert figure.spec["datasets"]["rows"] == [{"name": "a\ufffd[31mb\ufffd\ufffd"}]
    assert "a\ufffd[31mb" in figure.svg().decode()
    assert figure.png().startswith(b"\x89PNG")


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"has no plan\.json"):
        build(Store(tmp_path))


def test_the_template_and_its_style_are_part_of_the_package() -> None:
    here = Path(module.__file__).parent
    assert (here / "page.html.j2").exists()
    assert (here / "page.css").exists()


def test_summary_for_the_terminal(fake: Fake) -> None:
    found = summary(gather(fake.store))
    assert found.notes == NOTES
    assert len(found.rows) == len(found.cells) == 12
    assert all(len(row) == len(found.columns) for row in found.cells)
    row = found.cells[1]
    assert row[:4] == ("xcopa", "acc", "tiny", "LoRA r=8, 4 bits, mini, seed 0")
    assert row[4].startswith("60.0 [")
    assert row[5].startswith("+10.0 [+")
    assert row[6] == "3 of 3"
    assert found.rows[0]["delta"] is None
    assert found.rows[1]["delta"] == pytest.approx(0.1)


def test_a_study_of_single_passages_says_why_there_are_no_verdicts(tmp_path: Path) -> None:
    fake = filled(tmp_path, items=4)  # one passage
    evals = {name: one for name, one in fake.plan.evals.items() if one.task == "xquad"}
    scores = {name: one for name, one in fake.plan.scores.items() if one.eval_id in evals}
    fake.store.put_plan(fake.plan.model_copy(update={"evals": evals, "scores": scores}), b"")
    text = " ".join(Page(build(fake.store).read_text(encoding="utf-8")).texts)
    assert "No verdicts: no cell has items of two clusters" in text
