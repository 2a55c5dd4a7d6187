"""The command line. Thin: it reads arguments, calls one function and shows what came back.

Data goes to stdout, everything else to stderr. Exit status: 0 done, 1 some cells failed, 2 a
mistake in the input, 130 interrupted. Heavy imports are inside the commands, so that
`maple --help` answers at once.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from maple.errors import MapleError, StoreError, StudyError
from maple.terminal import (
    show_data,
    show_json,
    show_linted,
    show_list,
    show_plan,
    show_reading,
    show_row,
    show_table,
    show_verdict,
    stderr,
    stdout,
)

if TYPE_CHECKING:
    from maple.report import Gathered
    from maple.store import Store
    from maple.study.config import Study
    from maple.sweep.plan import Plan

app = typer.Typer(
    help="Fine-tune open language models for many languages, and know what it did to each.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(
    help="Fetch data ahead, and check what a folder holds.", no_args_is_help=True
)
app.add_typer(data_app, name="data")
sources_app = typer.Typer(help="List the training sources, or show rows as a model sees them.")
app.add_typer(sources_app, name="sources")

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="A study file (TOML).")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]
Data = Annotated[
    Path | None, typer.Option(help="Folder with release files; without it, the hub is read.")
]
Out = Annotated[Path | None, typer.Option(help="Results folder; default out/<study or command>.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Items a subset; may be raised later.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Values = Annotated[list[str] | None, typer.Option(help='Its value, or "unknown".')]
ServerModelName = Annotated[
    str | None, typer.Option(help="The base's name on the server; default the only one there.")
]
Cell = Annotated[
    str,
    typer.Argument(help='Id of a train cell or its beginning, or untuned[:BASE]; "@4" for 4 bits.'),
]
Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Hub id, local folder, GGUF file or demo:NAME.")
]


@app.command()
def run(
    study: StudyFile,
    data: Data = None,
    out: Out = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Train, evaluate, score and report. The same command resumes and extends."""
    from maple.sweep.plan import make

    loaded = _load(study)
    store = _store(out, loaded)
    plan = make(loaded, data, limit, store)
    _execute(plan, store, study.read_bytes(), as_json)


@app.command()
def plan(
    study: StudyFile,
    data: Data = None,
    out: Out = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Check a study and show its cells and what they will cost. Computes and writes nothing."""
    from maple.sweep.outlook import outlook

    loaded = _load(study)
    found = outlook(loaded, data, limit, _store(out, loaded))
    if as_json:
        show_json(found)
    else:
        show_plan(found)


@app.command()
def lint(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="A study file; default all there is.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Check prompts and metrics, of a study or of everything; exit 1 on any violation."""
    from maple.sweep.check import lint as of_study
    from maple.sweep.lint import of_all

    found = of_all(data, show_reading) if study is None else of_study(_load(study), data)
    rows = [one.as_json() for one in found]
    problems = sum(len(row["problems"]) for row in rows)
    if as_json:
        show_json(rows)
    else:
        show_linted(rows)
        stdout.print(
            f"{len(rows)} subsets and prompts, {sum(row['items'] for row in rows)} prompts, "
            f"{problems} violations"
        )
    if problems:
        raise typer.Exit(1)


@app.command()
def status(folder: Folder, as_json: AsJson = False) -> None:
    """How far a results folder is."""
    from maple.sweep.progress import progress

    rows = progress(_existing(folder))
    if as_json:
        show_json([row.as_json() for row in rows])
        return
    show_table(
        "",
        ["kind", "cell", "status", "items", "what"],
        [(row.kind, row.id, row.status, row.items, row.what) for row in rows if not row.settled],
    )
    counts = {kind: [row.status for row in rows if row.kind == kind] for kind in ("train", "eval")}
    for kind, states in counts.items():
        shown = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        stdout.print(f"{kind}: {shown or 'no cells'}")


@app.command()
def report(
    folder: Folder,
    items: Annotated[
        bool,
        typer.Option(
            "--items/--no-items",
            help="With texts of items and answers; without them where licences forbid to share.",
        ),
    ] = True,
    live: Annotated[
        bool, typer.Option("--live", help="Build it again whenever a sweep has got further.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report of a results folder again: report/index.html, tables and figures."""
    store = _existing(folder)
    if not live:
        _report(store, as_json, items=items)
        return
    from maple.report import gather
    from maple.report.live import follow
    from maple.sweep.progress import progress

    try:
        path = follow(store, progress, lambda line: stderr.print(line, markup=False), items=items)
    except KeyboardInterrupt:
        stderr.print("stopped; `maple report` writes the page so that it stands still")
        raise typer.Exit(130) from None
    _show_report(gather(store), path, as_json)


@app.command()
def compare(
    folder: Folder,
    a: Cell,
    b: Cell,
    as_json: AsJson = False,
) -> None:
    """Compare two cells by task and language: B minus A, paired, with intervals."""
    from maple.report import compared

    found = compared(_existing(folder), a, b)
    if as_json:
        show_json(found.content)
        return
    for note in found.notes:
        stdout.print(note, markup=False)
    show_table("", found.columns, found.cells)
    for line in found.caution:
        stdout.print(line, markup=False)


@app.command()
def export(
    folder: Folder,
    form: Annotated[str, typer.Option("--format", help="lm-eval, csv, parquet or hf-card.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; default DIR/export/<format>.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the results in another program's format; an earlier export is replaced."""
    from maple.report.export import export as export_store
    from maple.report.export_hf_card import Origins
    from maple.report.gathered import plan_of
    from maple.sweep.catalogue import cards, hubs

    store = _existing(folder)
    asked = {cell.task for cell in plan_of(store).evals.values()}
    written = export_store(store, form, out, Origins(cards(sorted(asked)), hubs()))
    if as_json:
        show_json([str(path) for path in written])
        return
    where = out or folder / "export" / form
    stdout.print(f"{len(written)} files: {where}", markup=False)


@app.command()
def rescore(
    folder: Folder,
    metric: Annotated[
        list[str],
        typer.Option(help="For example squad_english; may be given several times."),
    ],
    as_json: AsJson = False,
) -> None:
    """Score stored answers by more metrics, without running a model; reports again."""
    from maple.sweep.rescore import rescore as rescore_store

    store = _existing(folder)
    found = rescore_store(store, metric)
    for line in found.left_out:
        stderr.print(f"left out: {line}", markup=False)
    for cell_id, message in found.failed.items():
        stderr.print(f"failed: {cell_id}: {message}", markup=False, style="red")
    _report(store, as_json)
    stderr.print(
        f"{found.scored} of {found.cells} cells scored, {found.waiting} without answers yet, "
        f"{len(found.failed)} failed"
    )
    if found.failed:
        raise typer.Exit(1)


@app.command()
def finetune(
    model: Model,
    source: Annotated[str, typer.Option(help="Training source; `maple sources` lists them.")],
    method: Annotated[str, typer.Option(help="lora, dora, full, ...: docs/reference.")] = "lora",
    r: Annotated[int, typer.Option(help="Rank, of methods that have one.")] = 16,
    lora_alpha: Annotated[str, typer.Option(help='A rule such as "2r", or a number.')] = "2r",
    train_bits: Annotated[int, typer.Option(help="Precision of the base: 4, 8, 16, 32.")] = 16,
    template: Annotated[str, typer.Option(help="plain, or chat: the tokenizer's own.")] = "plain",
    languages: Annotated[
        str, typer.Option(help="Comma-separated; default all, or all that --data holds.")
    ] = "all",
    rows: Annotated[int | None, typer.Option(help="Rows in all; default all there are.")] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the rows.")] = 1.0,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate; default the method's own.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Examples per optimiser step.")] = 16,
    max_tokens: Annotated[int, typer.Option(help="Longest row in tokens.")] = 768,
    validation_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows a language to hold out of training.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Order of rows and start values.")] = 0,
    data: Data = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Train one adapter, or a whole model, without a study file; its files are then in --out."""
    from maple.sweep.product import lay_out

    content = {
        "name": "finetune",
        "seeds": [seed],
        "base": {"models": [model]},
        "train": {
            "sources": [source],
            "languages": _languages(languages, source, data),
            "methods": [method],
            "r": [r],
            "lora_alpha": _number(lora_alpha),
            "train_bits": [train_bits],
            "templates": [template],
            "epochs": epochs,
            "batch_size": batch_size,
            "max_tokens": max_tokens,
            **({} if rows is None else {"rows": rows}),
            **({} if validation_rows is None else {"validation": {"rows": validation_rows}}),
            **({} if learning_rate is None else {"learning_rate": learning_rate}),
        },
    }
    made, store = _without_file(content, data, out, None, None)
    _check_free(store)
    _execute(made, store, _toml_note(content), as_json, report_after=False)
    (cell_id,) = (name for name, cell in made.grid.train.items() if cell.method != "none")
    if lay_out(store, cell_id):
        stderr.print("it replaces what was trained there before, which train/ still has")
    if as_json:
        show_json({"cell": cell_id, "folder": str(store.root)})
    else:
        stdout.print(str(store.root), markup=False)


@app.command()
def evaluate(
    model: Model,
    task: Annotated[str, typer.Option(help="Task; `maple tasks` lists them.")],
    subset: Annotated[
        list[str], typer.Option(help='Subset, or "all"; may be given several times.')
    ],
    adapter: Annotated[Path | None, typer.Option(help="PEFT folder to answer through.")] = None,
    eval_bits: Annotated[int, typer.Option(help="Precision: 4, 8, 16, 32.")] = 16,
    n_shot: Annotated[int, typer.Option(min=0, help="Exemplars in the prompt.")] = 4,
    prompt: Annotated[str | None, typer.Option(help="Its name; default native.")] = None,
    prompts_from: Annotated[
        Path | None, typer.Option(help="TOML file with prompts of your own.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="Training template to ask in: plain, chat or the adapter's own."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="release (the default) or mini.")] = None,
    setup: Annotated[
        str | None,
        typer.Option(help="monolingual (the default), cross-lingual or translate-test."),
    ] = None,
    translations: Annotated[
        Path | None, typer.Option(help="translate-test: folder of the items in English.")
    ] = None,
    translated_by: Annotated[
        str | None, typer.Option(help="translate-test: a name for who translated.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="vLLM server that answers: http://127.0.0.1:8000/v1.")
    ] = None,
    server_model: ServerModelName = None,
    exemplar_seed: Annotated[int, typer.Option(help="Which exemplars.")] = 0,
    data: Data = None,
    out: Out = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate one base or adapter without a study file; prints its scores."""
    from maple.models.adapter_files import template_of

    if server_model is not None and server is None:
        raise StudyError(
            f"--server-model {server_model}: is a name on a server, but there is no --server",
            "add --server URL, or leave it out",
        )
    own = None if adapter is None else template_of(adapter, template)
    section = _section(
        task,
        subset,
        n_shot=n_shot,
        dataset=dataset,
        prompt=prompt,
        template=template,
        setup=setup,
        translations=None if translations is None else str(translations),
        translated_by=translated_by,
    )
    content = {
        "name": "evaluate",
        "base": {"models": [model]},
        "evaluate": {
            "eval_bits": [eval_bits],
            "exemplar_seed": exemplar_seed,
            **({} if server is None else {"server": {"url": server, "model": server_model}}),
            **({} if prompts_from is None else {"prompts_from": str(prompts_from)}),
            **({} if own is None else {"template": [own]}),
            "task": [section],
        },
    }
    made, store = _without_file(content, data, out, limit, adapter)
    _execute(made, store, _toml_note(content), as_json)


@app.command(name="serve-check")
def serve_check(
    model: Model,
    url: Annotated[str, typer.Option(help="The server, for example http://127.0.0.1:8000/v1.")],
    adapter: Annotated[Path | None, typer.Option(help="PEFT folder to compare, too.")] = None,
    eval_bits: Annotated[int, typer.Option(help="Precision: 4, 8, 16, 32.")] = 16,
    server_model: ServerModelName = None,
    task: Annotated[list[str] | None, typer.Option(help="Tasks to draw requests from.")] = None,
    subset: Annotated[list[str] | None, typer.Option(help="Subsets; default all.")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Mean difference allowed, in nats per answer token.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with release files; default the set `mini`.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder to keep the verdict in.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a server with the built-in engine; refuse it (exit 1) outside a tolerance."""
    from maple.store.servecheck import write
    from maple.sweep.servecheck import check

    content = {
        "name": "serve-check",
        "base": {"models": [model]},
        "evaluate": {
            "eval_bits": [eval_bits],
            "server": {"url": url, "model": server_model},
            "task": [
                _section(name, subset, n_shot=0)
                if _is_foreign(name)
                else _section(name, subset, n_shot=2, dataset="mini" if data is None else "release")
                for name in task or ("xcopa", "xquad")
            ],
        },
    }
    found = check(_validated(content), adapter, data, tolerance)
    if out is not None:
        write(out, found)
    if as_json:
        show_json({**asdict(found), "passed": found.passed})
    else:
        show_verdict(found)
    if not found.passed:
        raise typer.Exit(1)


@app.command()
def tasks(as_json: AsJson = False) -> None:
    """List the tasks with their subsets, prompts and metrics, those on request apart."""
    from maple.evaluate.extra import available
    from maple.tasks import TASKS

    found, problems = TASKS.loadable()
    for problem in problems:
        stderr.print(f"left out: {problem}", markup=False)
    rows = [
        {
            "task": name,
            "kind": task.kind,
            "dataset": dataset,
            "subsets": list(task.subsets(dataset)),
            "prompts": list(task.prompts),
            "metrics": list(task.metrics),
            "on request": list(available(task.metrics, name)),
        }
        for name, task in found.items()
        for dataset in task.datasets
    ]
    show_list("tasks", rows, as_json)


@app.command()
def languages(
    query: Annotated[
        str | None, typer.Argument(help="Part of a name, key, tag or code; default all.")
    ] = None,
    family: Values = None,
    branch: Values = None,
    script: Values = None,
    resource_class: Values = None,
    direction: Values = None,
    spaced: Values = None,
    task: Annotated[list[str] | None, typer.Option(help="Tasks whose release has it.")] = None,
    release: Annotated[list[str] | None, typer.Option(help="Releases that have it.")] = None,
    as_json: AsJson = False,
) -> None:
    """List languages and what is known about them. Options given twice widen the choice.

    --task and --release given twice narrow it: languages that both have.
    """
    from maple.languages.selection import Filter, select
    from maple.sweep.catalogue import languages_of

    where = Filter(
        *(tuple(given or ()) for given in (family, branch, script, resource_class, release)),
        *(tuple(given or ()) for given in (direction, spaced)),
    )
    rows = [
        {
            "key": row.key,
            "bcp47": row.bcp47,
            "name": row.name,
            "autonym": row.autonym,
            "glottocode": row.glottocode,
            "family": row.family,
            "branch": row.branch,
            "resource class": row.resource_class,
            "direction": row.direction,
            "spaced": row.spaced,
            **({"codes": dict(row.codes)} if as_json else {"in": sorted(row.codes)}),
        }
        for row in select(query, where, languages_of(task or ()))
    ]
    if not as_json and not rows:
        stdout.print("no language fits all of it")
        return
    show_list("languages", rows, as_json)


@sources_app.callback(invoke_without_command=True)
def sources(context: typer.Context, as_json: AsJson = False) -> None:
    """List the training sources with their languages, rows in all of them, and licence."""
    if context.invoked_subcommand is not None:
        return
    from maple.data.sizes import trained_on
    from maple.data.sources import SOURCES

    rows = [
        {
            "source": name,
            "languages": list(source.languages),
            "rows": trained_on(source),
            "licence": source.licence,
        }
        for name, source in SOURCES.items()
    ]
    show_list("sources", rows, as_json)


@sources_app.command(name="show")
def sources_show(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Training source.")],
    model: Annotated[str, typer.Option(help="Base model whose tokenizer reads the rows.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Rows to show.")] = 3,
    template: Annotated[str, typer.Option(help="plain, chat or one of --study.")] = "plain",
    study: Annotated[
        Path | None, typer.Option(help="Study file whose own sources and templates may be named.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Default the source's first --n.")] = None,
    max_tokens: Annotated[int, typer.Option(min=8, help="Longest row in tokens.")] = 768,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Print rows as the model sees them: what it learns, their tokens, and which are too long."""
    from maple.sweep.shown import show

    own = None if study is None else _load(study)
    found = show(source, model, n, template, own, language, max_tokens, data)
    if as_json:
        show_json(asdict(found))
        return
    for row in found.rows:
        show_row(row, max_tokens)
    total = found.sample
    stdout.print(
        f"{total.rows} rows of {', '.join(found.languages)}: {total.tokens} tokens, "
        f"{total.learned} learned, the longest row {total.longest}; {total.dropped} rows longer "
        f"than {max_tokens} and left out"
    )


@data_app.command(name="pull")
def data_pull(
    study: StudyFile,
    to: Annotated[Path, typer.Option(metavar="DIR", help="New folder, or one pulled before.")],
    out: Annotated[
        Path | None, typer.Option(help="Results folder whose commits to keep; default out/<study>.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch all data of a study from the hub; the same command resumes. Then: --data DIR."""
    from maple.sweep.pull import left_out, pull

    loaded = _load(study)
    earlier = _store(out, loaded).plan()
    try:
        made = pull(loaded, to, earlier.locks if earlier else {}, show_reading)
    except KeyboardInterrupt:
        stderr.print("stopped; the same command resumes")
        raise typer.Exit(130) from None
    size = sum(copy.bytes for copy in made.files.values())
    if as_json:
        show_json({"folder": str(to), "bytes": size, **made.model_dump(exclude={"datasets"})})
        return
    for name in left_out(loaded):
        stdout.print(f"not fetched: {name} reads its data by itself", markup=False)
    stdout.print(f"{len(made.files)} files, {size / 1e6:,.1f} MB: --data {to}", markup=False)


@data_app.command(name="check")
def data_check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Release files, or what `data pull` made.")
    ],
    as_json: AsJson = False,
) -> None:
    """Read everything in a folder and name all that is wrong with it (exit 1)."""
    from maple.sweep.datacheck import check

    found = check(folder, show_reading)
    if as_json:
        show_json(
            {
                "held": [{**asdict(one), "state": one.state} for one in found.held],
                "problems": [{"what": one.what, "hint": one.hint} for one in found.problems],
                "unread": found.unread,
            }
        )
    else:
        show_data(found)
    if found.problems:
        raise typer.Exit(1)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("study.toml"),
) -> None:
    """Write a commented study file to start from."""
    from importlib.resources import files

    if path.exists():
        raise StudyError(f"{path}: exists already", "name another file: maple init OTHER.toml")
    try:
        path.write_bytes(files("maple.study").joinpath("template.toml").read_bytes())
    except OSError as error:
        raise StudyError(f"{path}: cannot be written: {error.strerror}") from error
    stderr.print(f"wrote {path}; next: maple plan {path}", markup=False)


def main() -> None:
    """Entry point of the `maple` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of languages and answers of models must not fail on an old terminal.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except MapleError as error:
        _fail(str(error))
    except OSError as error:
        # Files are the store's business, which names them; this is a full disk behind stdout.
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        # What is left in the buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(f"cannot write the output: {error.strerror}")


def _fail(message: str) -> NoReturn:
    stderr.print("error:", style="bold red", end=" ")
    stderr.print(message, markup=False)
    sys.exit(2)


def _load(path: Path) -> Study:
    from maple.study.load import load
    from maple.sweep.catalogue import catalogue

    return load(path, catalogue())


def _store(out: Path | None, study: Study) -> Store:
    from maple.store import Store

    return Store(out or Path("out") / study.name)


def _check_free(store: Store) -> None:
    """Raises StoreError where the files of an adapter could replace a user's own."""
    if store.plan() is None and store.root.is_dir():
        theirs = sorted(path.name for path in store.root.iterdir() if path.is_file())
        if theirs:
            raise StoreError(
                f"--out {store.root}: there are other files in it ({', '.join(theirs[:3])})",
                "name a new folder, or one that `maple finetune` made",
            )


def _existing(folder: Path) -> Store:
    from maple.store import Store

    store = Store(folder)
    if store.plan() is None:
        raise StoreError(
            f"{folder}: no results here (it has no plan.json)", "expected the --out of `maple run`"
        )
    return store


def _without_file(
    content: dict[str, Any],
    data: Path | None,
    out: Path | None,
    limit: int | None,
    adapter: Path | None,
) -> tuple[Plan, Store]:
    from maple.sweep.plan import make

    study = _validated(content)
    store = _store(out, study)
    return make(study, data, limit, store, adapter), store


def _validated(content: dict[str, Any]) -> Study:
    from maple.study.load import validate
    from maple.sweep.catalogue import catalogue

    return validate(content, catalogue(), where="arguments")


def _section(
    name: str, subset: Sequence[str] | None, **settings: int | str | None
) -> dict[str, Any]:
    """What [[evaluate.task]] would say: `settings`, and subsets or a foreign task's language."""
    section = {"name": name, **{k: value for k, value in settings.items() if value is not None}}
    if not subset or list(subset) == ["all"]:
        return section
    if not _is_foreign(name):
        return section | {"subsets": list(subset)}
    if len(subset) > 1:
        raise StudyError(
            f"--subset {', '.join(subset)}: {name} has one subset, named by its language",
            "give its language only",
        )
    return section | {"language": subset[0]}


def _is_foreign(name: str) -> bool:
    from maple.study.config import FOREIGN

    return name.startswith(FOREIGN)


def _execute(
    plan: Plan, store: Store, study: bytes, as_json: bool, report_after: bool = True
) -> None:
    from maple.sweep.display import Display
    from maple.sweep.executors import LocalExecutor
    from maple.sweep.plan import commit
    from maple.sweep.run import run as run_plan

    commit(plan, store, study)
    try:
        with Display(plan, store, stderr) as display:
            outcome = run_plan(plan, store, LocalExecutor(store.root / "units"), display)
    except KeyboardInterrupt:
        stderr.print("stopped; the same command resumes")
        raise typer.Exit(130) from None
    if report_after:
        _report(store, as_json)
    now = store.plan()
    if now is None or now.evals != plan.grid.evals or now.train != plan.grid.train:
        stderr.print("another sweep has changed this study: the report shows it as it is now")
    for cell_id, message in outcome.failed.items():
        stderr.print(f"failed: {cell_id}: {message}", markup=False, style="red")
    stderr.print(
        f"{len(outcome.done)} cells computed, {outcome.scored} scored, {len(outcome.failed)} failed"
    )
    if outcome.failed:
        raise typer.Exit(1)


def _report(store: Store, as_json: bool, *, items: bool = True) -> None:
    from maple.report import gather, write

    gathered = gather(store)
    _show_report(gathered, write(gathered, items=items), as_json)


def _show_report(gathered: Gathered, path: Path, as_json: bool) -> None:
    from maple.report import summary

    found = summary(gathered)
    if as_json:
        show_json({"report": str(path), "rows": found.rows, "notes": found.notes})
        return
    for note in found.notes:
        stdout.print(note, markup=False)
    show_table("", found.columns, found.cells)
    stdout.print(f"report: {path}", markup=False)


def _names(text: str) -> str | list[str]:
    return text if text == "all" else [name.strip() for name in text.split(",") if name.strip()]


def _languages(text: str, source: str, data: Path | None) -> str | list[str]:
    """Languages to train on; "all" of a folder are those it has files of, which is said."""
    from maple.sweep.drawing import held

    found = held(source, data) if text == "all" and data is not None else ()
    if not found:
        return _names(text)
    stderr.print(f"{data} holds {source} in {', '.join(found)}", markup=False)
    return list(found)


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def _toml_note(content: dict[str, Any]) -> bytes:
    """What stands where a study file would, for a run that had none."""
    arguments = json.dumps(content, ensure_ascii=False)
    return f"# made from arguments, not from a study file\n# {arguments}\n".encode()
