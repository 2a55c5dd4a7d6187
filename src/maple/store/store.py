"""One results folder: where each cell's files are and how they are read and written."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from maple.errors import StoreError
from maple.records import Cost, EvalCell, Example, InstructionRow, ScoreCell, TrainCell
from maple.store import files, leases, prompts, schemas
from maple.store.leases import Lease
from maple.store.planfile import PlanFile
from maple.store.planfile import parse as parse_plan
from maple.store.prompts import Prompts
from maple.store.record import Record
from maple.store.record import parse as parse_record
from maple.store.stacked import Stacked, read_stacked
from maple.study.identity import content_hash


class Store:
    """A results folder. Holds no state beside its path: what is on disk is the truth.

    Args:
        root: the folder; it need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    # Paths

    def train_folder(self, train_id: str) -> Path:
        """Adapter files, record, log and, while training, checkpoints of a train cell."""
        return self.root / "train" / train_id

    def eval_path(self, eval_id: str, cell: EvalCell) -> Path:
        """The responses of an eval cell, Parquet; its record is beside it, `.json`."""
        return self.root / "eval" / cell.train_id / cell.task / cell.subset / f"{eval_id}.parquet"

    def score_path(self, score_id: str, cell: ScoreCell) -> Path:
        """The scores of a score cell, Parquet."""
        return self.root / "scores" / cell.eval_id / f"{score_id}.parquet"

    def items_path(self, group: str, subset: str, content: str) -> Path:
        """Items or training rows by content; `group` is a task, or "sources"."""
        return self.root / "items" / group / subset / f"{_short(content)}.parquet"

    # Leases

    def claim(self, cell_id: str) -> Lease | None:
        """The lease of a cell, or None where somebody alive holds it."""
        return leases.claim(self.root / "leases", cell_id)

    def holder(self, cell_id: str) -> str | None:
        """Who works on a cell at the moment: "host (process N)", or None."""
        return leases.holder(self.root / "leases", cell_id)

    # Items and training rows

    def put_items(self, task: str, subset: str, content: str, examples: Sequence[Example]) -> None:
        """Store examples once, under the hash of their content."""
        path = self.items_path(task, subset, content)
        if not path.exists():
            table = schemas.items_table(examples)
            about = {"task": task, "subset": subset, "content": content}
            files.write_table(path, schemas.with_metadata(table, about))

    def items(self, task: str, subset: str, content: str) -> list[Example]:
        """Examples by content, in their stored order."""
        return schemas.examples(self.items_table(task, subset, content))

    def items_table(self, task: str, subset: str, content: str) -> pa.Table:
        """The same as a table of ITEMS."""
        return files.read_table(self.items_path(task, subset, content), schemas.ITEMS)

    def count_items(self, task: str, subset: str, content: str) -> int:
        """How many examples `items` holds, from its footer alone."""
        return files.count_rows(self.items_path(task, subset, content))

    def put_prompt_sizes(
        self, cell: EvalCell, tokenizer: str, rows: Sequence[Mapping[str, object]]
    ) -> None:
        """Store how long the prompts of a cell's items are, the same for all cells that ask them.

        Args:
            cell: names items and prompt.
            tokenizer: hash of the tokenizer that counted the tokens.
            rows: of schema PROMPT_SIZES, in item order, exemplars not counted.
        """
        table = pa.Table.from_pylist(list(rows), schema=schemas.PROMPT_SIZES)
        about = {"task": cell.task, "subset": cell.subset, "items": cell.items}
        about |= {"prompt": cell.prompt_hash, "tokenizer": tokenizer}
        path = self._prompts_path(cell, tokenizer)
        files.write_table(path, schemas.with_metadata(table, about))

    def prompt_sizes(self, cell: EvalCell, tokenizer: str) -> pa.Table | None:
        """A table of PROMPT_SIZES; None where nobody has counted."""
        path = self._prompts_path(cell, tokenizer)
        return files.read_table(path, schemas.PROMPT_SIZES) if path.exists() else None

    def put_prompts(self, cell: EvalCell, found: Prompts) -> None:
        """Store the first items' prompts, the same for all cells that ask them alike."""
        prompts.write(self._asked_path(cell), found)

    def prompts(self, cell: EvalCell) -> Prompts | None:
        """Prompts of a cell's first items; None where none were kept.

        Raises:
            StoreError: their file cannot be read.
        """
        return prompts.read(self._asked_path(cell))

    def put_rows(self, source: str, content: str, rows: Sequence[InstructionRow]) -> None:
        """Store training rows once, under the hash of their content."""
        path = self.items_path("sources", source, content)
        if not path.exists():
            table = schemas.instructions_table(rows)
            about = {"source": source, "content": content}
            files.write_table(path, schemas.with_metadata(table, about))

    def rows(self, source: str, content: str) -> list[InstructionRow]:
        """Training rows by content, in their stored order."""
        path = self.items_path("sources", source, content)
        return schemas.instructions(files.read_table(path, schemas.INSTRUCTIONS))

    # Records

    def train_record(self, train_id: str) -> Record | None:
        """The record of a train cell; None before its first attempt ended."""
        return self._record(self.train_folder(train_id) / "record.json")

    def eval_record(self, eval_id: str, cell: EvalCell) -> Record | None:
        """The record of an eval cell; None before its first attempt ended.

        None also where the cell was finished and its answers have been deleted since.
        """
        path = self.eval_path(eval_id, cell)
        record = self._record(path.with_suffix(".json"))
        gone = record is not None and record.status == "done" and not path.exists()
        return None if gone else record

    def score_record(self, score_id: str, cell: ScoreCell) -> Record | None:
        """Why the last attempt to score failed; None where it did not."""
        return self._record(self.score_path(score_id, cell).with_suffix(".json"))

    def put_record(self, record: Record) -> None:
        """Write a cell's record. It is the last file of a finished cell: with it, the cell is."""
        if isinstance(record.cell, TrainCell):
            path = self.train_folder(record.id) / "record.json"
        elif isinstance(record.cell, ScoreCell):
            path = self.score_path(record.id, record.cell).with_suffix(".json")
        else:
            path = self.eval_path(record.id, record.cell).with_suffix(".json")
        files.write_bytes(path, record.to_bytes())

    # Responses

    def finished(self, eval_id: str, cell: EvalCell) -> pa.Table:
        """The responses in an eval cell's one file, in item order; none before it is joined.

        Returns:
            A table of CHOICE_RESPONSES or GENERATE_RESPONSES.
        """
        schema = response_schema(cell)
        path = self.eval_path(eval_id, cell)
        table = files.read_table(path, schema) if path.exists() else schema.empty_table()
        return table.replace_schema_metadata(None)

    def stacked_responses(
        self, cells: Mapping[str, EvalCell], names: Sequence[str]
    ) -> tuple[list[str], Stacked]:
        """Columns of the finished responses of many cells of one decoding.

        Returns:
            Ids of the cells that have a file, and the rows of these files.
        """
        paths = {name: self.eval_path(name, cell) for name, cell in cells.items()}
        schema = response_schema(next(iter(cells.values())))
        return _stacked(paths, schema, names)

    def responses(self, eval_id: str, cell: EvalCell) -> pa.Table:
        """`finished`, and behind it the rows of the parts. For the holder of the cell's lease."""
        schema = response_schema(cell)
        tables = [self.finished(eval_id, cell)]
        for after, part in self._parts(self.eval_path(eval_id, cell)):
            if after == tables[0].num_rows:
                tables.append(files.read_table(part, schema))
        return pa.concat_tables(tables).replace_schema_metadata(None)

    def answered(self, eval_id: str, cell: EvalCell) -> int:
        """Items answered so far, parts included; looks at footers only.

        Safe while a worker joins the parts: a part that vanishes is in the joined file by then.
        """
        done = self.count(eval_id, cell)
        try:
            parts = self._parts(self.eval_path(eval_id, cell))
            return done + sum(files.count_rows(part) for after, part in parts if after == done)
        except StoreError:
            return self.count(eval_id, cell)

    def count(self, eval_id: str, cell: EvalCell) -> int:
        """Rows in an eval cell's finished file, from its footer alone; 0 without one."""
        path = self.eval_path(eval_id, cell)
        return files.count_rows(path) if path.exists() else 0

    def put_part(
        self,
        eval_id: str,
        cell: EvalCell,
        first: int,
        rows: Sequence[Mapping[str, object]],
        cost: Cost,
    ) -> None:
        """Persist responses to some items of an unfinished cell.

        What they cost goes with them, so that it is not lost with the process. The name of the file
        says how many rows the cell's one file had: once it has more, the part is joined.

        Args:
            first: number of the first of these items, which no other part has.
        """
        table = pa.Table.from_pylist(list(rows), schema=response_schema(cell))
        table = schemas.with_metadata(table, {"cost": dataclasses.asdict(cost)})
        path = self.eval_path(eval_id, cell)
        name = f"{self.count(eval_id, cell):08d}-{first:08d}.parquet"
        files.write_table(path.with_suffix(".parts") / name, table)

    def join_parts(self, eval_id: str, cell: EvalCell, order: Sequence[str]) -> pa.Table:
        """Write an eval cell's one file, parts included; they stay until `drop_parts`.

        Args:
            order: ids of the items asked for, all of which have responses, in item order. What
                parts hold beyond them, asked for under a higher limit, is left out.
        """
        path = self.eval_path(eval_id, cell)
        table = self.finished(eval_id, cell)
        if table.num_rows < len(order) or not path.exists():
            table = self.responses(eval_id, cell)
            rows = {name: row for row, name in enumerate(table["example_id"].to_pylist())}
            table = table.take([rows[name] for name in order]).combine_chunks()
            self._put_responses(eval_id, cell, table)
        return table

    def put_neutral(
        self, eval_id: str, cell: EvalCell, values: Mapping[str, Sequence[float]]
    ) -> None:
        """Fill the column `neutral_logprobs` of a choice cell's one file.

        Args:
            values: log-probabilities by example id; other rows keep what they have.
        """
        table = self.finished(eval_id, cell)
        kept = zip(
            table["example_id"].to_pylist(), table["neutral_logprobs"].to_pylist(), strict=True
        )
        column = pa.array([values.get(name, old) for name, old in kept], pa.list_(pa.float64()))
        place = table.schema.get_field_index("neutral_logprobs")
        field = schemas.CHOICE_RESPONSES.field("neutral_logprobs")
        self._put_responses(eval_id, cell, table.set_column(place, field, column))

    def count_neutral(self, eval_id: str, cell: EvalCell) -> int:
        """Leading rows of an eval cell's one file that have `neutral_logprobs`; from its footer."""
        path = self.eval_path(eval_id, cell)
        return schemas.metadata(files.read_schema(path)).get("neutral", 0) if path.exists() else 0

    def content(self, eval_id: str, cell: EvalCell) -> str | None:
        """Hash of an eval cell's finished responses; None without them, or in older files."""
        path = self.eval_path(eval_id, cell)
        return schemas.metadata(files.read_schema(path)).get("content") if path.exists() else None

    def part_costs(self, eval_id: str, cell: EvalCell, kept: int) -> list[Cost]:
        """What the parts of an eval cell behind its first `kept` rows have cost, joined or not."""
        parts = self._parts(self.eval_path(eval_id, cell))
        return [
            Cost(**schemas.metadata(files.read_schema(part))["cost"])
            for after, part in parts
            if after >= kept
        ]

    def drop_parts(self, eval_id: str, cell: EvalCell) -> None:
        """Remove the parts of a cell whose record is written."""
        shutil.rmtree(self.eval_path(eval_id, cell).with_suffix(".parts"), ignore_errors=True)

    # Scores

    def put_scores(
        self,
        score_id: str,
        cell: ScoreCell,
        example_ids: Sequence[str],
        scores: Sequence[float | None],
        content: str | None,
    ) -> None:
        """Write one metric's score of each example; an earlier failure is over with it.

        Args:
            scores: null where a check of the language cannot tell.
            content: of the responses that were scored.
        """
        table = pa.table([list(example_ids), list(scores)], schema=schemas.SCORES)
        about = {"score_id": score_id, "cell": dataclasses.asdict(cell), "content": content}
        path = self.score_path(score_id, cell)
        files.write_table(path, schemas.with_metadata(table, about))
        path.with_suffix(".json").unlink(missing_ok=True)

    def scores(self, score_id: str, cell: ScoreCell) -> pa.Table | None:
        """A table of SCORES; None before the cell was scored."""
        path = self.score_path(score_id, cell)
        if not path.exists():
            return None
        return files.read_table(path, schemas.SCORES).replace_schema_metadata(None)

    def stacked_scores(self, cells: Mapping[str, ScoreCell]) -> tuple[list[str], Stacked]:
        """The scores of many cells.

        Returns:
            Ids of those that were scored, and the rows of their files.
        """
        paths = {name: self.score_path(name, cell) for name, cell in cells.items()}
        return _stacked(paths, schemas.SCORES, schemas.SCORES.names)

    def scored(self, score_id: str, cell: ScoreCell) -> tuple[int, str | None]:
        """How many responses a score cell has scored, and their `content`, from its footer."""
        path = self.score_path(score_id, cell)
        if not path.exists():
            return 0, None
        return files.count_rows(path), schemas.metadata(files.read_schema(path)).get("content")

    # The plan and the index

    def put_plan(self, plan: PlanFile, study: bytes) -> None:
        """Write plan.json and the study file it came from.

        In this order: a study.toml without a plan.json is a user's own.
        """
        files.write_bytes(self.root / "plan.json", plan.to_bytes())
        files.write_bytes(self.root / "study.toml", study)

    def plan(self) -> PlanFile | None:
        """plan.json; None where the folder has none.

        Raises:
            StoreError: plan.json cannot be read or is not a plan of this version.
        """
        path = self.root / "plan.json"
        content = _content(path)
        return None if content is None else parse_plan(content, str(path))

    def records(self) -> Iterator[Record]:
        """Every record in the folder, train, eval and failed score cells, each in order of path."""
        for pattern in ("train/*/record.json", "eval/*/*/*/*.json", "scores/*/*.json"):
            for path in sorted(self.root.glob(pattern)):
                record = self._record(path)
                if record is not None:
                    yield record

    def write_index(self) -> None:
        """Rebuild index.parquet from the records."""
        rows = [
            {
                "kind": record.kind,
                "id": record.id,
                "status": record.status,
                "finished": record.finished,
                "cell": json.dumps(dataclasses.asdict(record.cell), sort_keys=True),
            }
            for record in self.records()
        ]
        files.write_table(
            self.root / "index.parquet", pa.Table.from_pylist(rows, schema=schemas.INDEX)
        )

    def _prompts_path(self, cell: EvalCell, tokenizer: str) -> Path:
        name = _short(content_hash([cell.items, cell.prompt_hash, tokenizer]))
        return self.root / "items" / cell.task / cell.subset / "prompts" / f"{name}.parquet"

    def _asked_path(self, cell: EvalCell) -> Path:
        name = _short(content_hash(cell.asked_as))
        return self.root / "items" / cell.task / cell.subset / "prompts" / f"{name}.json"

    def _put_responses(self, eval_id: str, cell: EvalCell, table: pa.Table) -> None:
        about: dict[str, object] = {"eval_id": eval_id, "cell": dataclasses.asdict(cell)}
        if "neutral_logprobs" in table.schema.names:
            asked = table["neutral_logprobs"].is_valid().to_pylist()
            about["neutral"] = (*asked, False).index(False)
        # Filled in later, that column makes no other metric's scores old.
        rows = [
            {k: v for k, v in row.items() if k != "neutral_logprobs"} for row in table.to_pylist()
        ]
        about["content"] = content_hash(rows)
        path = self.eval_path(eval_id, cell)
        files.write_table(path, schemas.with_metadata(table, about))

    def _record(self, path: Path) -> Record | None:
        content = _content(path)
        return None if content is None else parse_record(content, str(path))

    def _parts(self, path: Path) -> list[tuple[int, Path]]:
        parts = path.with_suffix(".parts")
        return sorted(
            (int(part.stem.partition("-")[0]), part) for part in parts.glob("[0-9]*-*.parquet")
        )


def response_schema(cell: EvalCell) -> pa.Schema:
    """Columns of a cell's responses, by its decoding."""
    return schemas.CHOICE_RESPONSES if cell.decoding == "choices" else schemas.GENERATE_RESPONSES


def _stacked(
    paths: Mapping[str, Path], schema: pa.Schema, names: Sequence[str]
) -> tuple[list[str], Stacked]:
    there = {name: path for name, path in paths.items() if path.exists()}
    return list(there), read_stacked(list(there.values()), schema, names)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error


def _short(content: str) -> str:
    return content.removeprefix("sha256:")[:16]
