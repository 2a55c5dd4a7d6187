"""What a worker does: the cells of one unit, one after the other, on one loaded base."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from maple import provenance
from maple.errors import MapleError, ModelError, StoreError
from maple.evaluate import invariance
from maple.evaluate.fitting import Fitted, Measure, fit
from maple.evaluate.responses import Asked, Part, answer, ask, neutral
from maple.evaluate.sizes import prompt_sizes
from maple.languages import ENGLISH
from maple.models.adapter_files import check_adapter, check_origin
from maple.models.server_api import SPARE
from maple.models.templates import Template, Templates
from maple.models.window import window
from maple.protocols import LanguageModel
from maple.records import (
    ChoiceResponse,
    Cost,
    EvalCell,
    EvalWork,
    Frame,
    InstructionRow,
    Noise,
    Shortened,
    TrainCell,
    TrainWork,
    Unit,
    UserPrompt,
)
from maple.store import Lease, LeaseLostError, Record, Store, prompts, schemas
from maple.study.config import host
from maple.study.grid import SHORTEN
from maple.sweep.attempt import Attempt
from maple.sweep.base import Emit, UnitBase
from maple.sweep.plan import KEPT_ITEMS, is_answered, is_trained
from maple.tasks import asking


def run_unit(unit: Unit, emit: Emit) -> None:
    """Work through a unit. A cell that fails becomes a failed record; the next one goes on.

    Cells that are finished meanwhile are skipped; cells that somebody else works on are reported
    as "busy" and left alone.
    """
    worker = _Worker(unit, emit)
    for train in unit.train:
        worker.train(train)
    for work in unit.evals:
        worker.evaluate(work)


class _Worker:
    def __init__(self, unit: Unit, emit: Emit) -> None:
        self._unit = unit
        self._emit = emit
        self._store = Store(Path(unit.store))
        self._templates = Templates(unit.templates)
        self._base = UnitBase(unit, emit)
        self._asked = _AskedItems(self._store, unit.prompts, self._frame)
        self._noise: dict[str, Noise] = {}

    def train(self, work: TrainWork) -> None:
        cell_id = work.train_id
        lease = self._claim(cell_id, lambda: is_trained(self._store, cell_id))
        if lease is None:
            return
        with lease:
            attempt = Attempt("train", cell_id, work.cell)
            try:
                record = self._trained(work, attempt, lease)
            except LeaseLostError:
                self._emit({"event": "busy", "id": cell_id})
                return
            except Exception as error:  # noqa: BLE001  whatever happens in a cell is its record
                record = attempt.failed(error)
            self._close(record, lease)

    def evaluate(self, work: EvalWork) -> None:
        cell_id, cell = work.eval_id, work.cell

        def finished() -> bool:
            return is_answered(self._store, cell_id, cell, work.items, work.neutral)

        if work.adapter and not is_trained(self._store, work.adapter):
            # Failed just now, or in somebody else's hands: whoever planned this unit sees to it.
            self._emit({"event": "busy", "id": cell_id})
            return
        lease = self._claim(cell_id, finished)
        if lease is None:
            return
        with lease:
            attempt = Attempt("eval", cell_id, cell)
            try:
                record = self._answered(work, attempt, lease)
            except LeaseLostError:
                self._emit({"event": "busy", "id": cell_id})
                return
            except Exception as error:  # noqa: BLE001  whatever happens in a cell is its record
                record = attempt.failed(error, self._store.eval_record(cell_id, cell))
            self._close(record, lease)

    def _claim(self, cell_id: str, finished: Callable[[], bool]) -> Lease | None:
        if finished():
            self._emit({"event": "skipped", "id": cell_id})
            return None
        lease = self._store.claim(cell_id)
        if lease is None:
            self._emit({"event": "busy", "id": cell_id})
            return None
        # Its last holder may have finished between the look and the claim.
        if finished():
            lease.release()
            self._emit({"event": "skipped", "id": cell_id})
            return None
        self._emit({"event": "start", "id": cell_id})
        return lease

    def _trained(self, work: TrainWork, attempt: Attempt, lease: Lease) -> Record:
        cell = work.cell
        if cell.source is None or cell.data is None:
            raise MapleError(f"train cell {work.train_id}: names no training data")
        rows = self._store.rows(cell.source, cell.data)
        load_seconds = self._base.ensure_trainable()

        def on_progress(progress: Mapping[str, object]) -> None:
            # Before the step's checkpoint: who lost the lease must not touch the folder again.
            lease.check()
            self._emit({"event": "progress", "id": work.train_id, **progress})

        meter = provenance.Meter()
        folder = self._store.train_folder(work.train_id)
        template = self._template(cell)
        held_out = self._held_out(work, cell.source)
        outcome = self._base.train(work, rows, held_out, template, folder, on_progress)
        cost = Cost(**meter.read(), load_seconds=load_seconds)  # type: ignore[arg-type]
        # Training adds up its attempts across interruptions; the meter saw the last one only.
        cost = dataclasses.replace(cost, seconds=max(cost.seconds, outcome.seconds))
        return attempt.done(cost=cost, outcome=outcome)

    def _held_out(self, work: TrainWork, source: str) -> dict[str, list[InstructionRow]]:
        """The rows that are held out, by language; English also where it is not trained on."""
        found: dict[str, list[InstructionRow]] = {}
        if work.validation is not None:
            for row in self._store.rows(source, work.validation):
                found.setdefault(row.language, []).append(row)
        if work.english is not None and ENGLISH not in found:
            found[ENGLISH] = self._store.rows(source, work.english)
        return found

    def _answered(self, work: EvalWork, attempt: Attempt, lease: Lease) -> Record:
        cell, cell_id = work.cell, work.eval_id
        adapter = self._adapter(work)
        rendered = self._asked.of(work)
        order = [example.example_id for example in rendered.examples]
        earlier = self._store.eval_record(cell_id, cell)
        kept = (earlier and earlier.n) or 0
        if self._store.count(cell_id, cell) < kept:
            earlier, kept = None, 0  # its file was deleted
        answered = self._store.responses(cell_id, cell)["example_id"].to_pylist()
        load_seconds = self._base.ensure_model()
        model = self._base.model
        proof = model.proof(adapter)
        self._measure(cell, model, rendered, proof.bos_count)
        self._keep_prompts(cell, rendered)
        asked = rendered
        shortened: Mapping[str, Shortened] = {}
        if cell.truncation == SHORTEN:
            fitted = self._asked.fitted(work, model.lengths, self._context(model))
            asked, shortened = fitted.asked, fitted.shortened
        noise = self._noise_floor(model, adapter, cell, asked)
        meter = provenance.Meter()
        for part in answer(model, adapter, cell, asked, kept, set(answered)):
            lease.check()
            cost = Cost(**meter.lap(), load_seconds=load_seconds)  # type: ignore[arg-type]
            self._store.put_part(cell_id, cell, part.first, _rows(part), cost)
            load_seconds = 0.0
            answered += [example.example_id for example in part.examples]
            reached = {"step": len(answered), "steps": len(order)}
            self._emit({"event": "progress", "id": cell_id, **reached})
        table = self._store.join_parts(cell_id, cell, order)
        costs = self._store.part_costs(cell_id, cell, kept)
        if earlier is not None and earlier.cost is not None:
            costs.insert(0, earlier.cost)
        known = {
            "proof": proof,
            "noise": noise,
            "n": table.num_rows,
            "exemplar_ids": asked.exemplar_ids,
            "shortened": shortened,
        }
        if work.neutral:
            try:
                costs.append(self._ask_neutral(work, adapter, asked, lease))
            except LeaseLostError:
                raise
            except Exception as error:  # noqa: BLE001  the answers are there, and stay
                return attempt.failed(error, attempt.done(cost=_total(costs), **known))
        return attempt.done(cost=_total(costs), **known)

    def _template(self, cell: TrainCell | EvalCell) -> Template:
        """A cell's training template on the unit's base.

        Raises:
            ModelError: it is not what the cell's name stands for.
        """
        template = self._templates.of(cell.template_name or "", self._unit.base)
        if template.hash != cell.template:
            raise ModelError(
                f"the template {template.name!r} is not the one that the study was planned with",
                "run the study again; do not change a base's files while it runs",
            )
        return template

    def _frame(self, cell: EvalCell) -> Frame | None:
        return None if cell.template is None else self._template(cell).frame

    def _measure(self, cell: EvalCell, model: LanguageModel, asked: Asked, marks: int) -> None:
        """Store the sizes of the prompts, unless another cell has, of as many items."""
        tokenizer = self._unit.base.tokenizer
        known = self._store.prompt_sizes(cell, tokenizer)
        if known is None or known.num_rows < len(asked.examples):
            self._store.put_prompt_sizes(cell, tokenizer, prompt_sizes(model, asked, marks))

    def _keep_prompts(self, cell: EvalCell, asked: Asked) -> None:
        """Store the first items' prompts, unless another cell that asks them has."""
        first = asked.requests[: prompts.KEPT]
        try:
            known = self._store.prompts(cell)
        except StoreError:  # no loss: here they are again
            known = None
        if first and (known is None or len(known.texts) < len(first)):
            texts = {
                example.example_id: request.prompt
                for example, request in zip(asked.examples, first, strict=False)
            }
            self._store.put_prompts(cell, prompts.Prompts(first[0].prefix, texts))

    def _context(self, model: LanguageModel) -> int:
        """Tokens that prompts are made to fit: what the plan counted on, whoever answers.

        Raises:
            ModelError: a server takes fewer, and would get prompts that its cell's name does not
                stand for.
        """
        if self._unit.server is None:
            return model.max_context
        planned = window(self._unit.base, served=True).max_context
        if model.max_context < planned:
            raise ModelError(
                f"some prompts must be shortened to the {planned + SPARE} tokens that "
                f"{self._unit.base.name} reads, and {host(self._unit.server.url)} takes only "
                f"{model.max_context + SPARE}",
                f"start the server with --max-model-len {planned + SPARE}",
            )
        return planned

    def _ask_neutral(
        self, work: EvalWork, adapter: Path | None, asked: Asked, lease: Lease
    ) -> Cost:
        """Fill in the neutral log-probabilities of answered items that lack them."""
        meter = provenance.Meter()
        cell_id, cell = work.eval_id, work.cell
        rows = self._store.finished(cell_id, cell).slice(0, work.items).to_pylist()
        lacking = {row["example_id"] for row in rows if row["neutral_logprobs"] is None}
        if lacking:
            found = neutral(self._base.model, adapter, cell, asked, lacking, lease.check)
            lease.check()
            self._store.put_neutral(cell_id, cell, found)
        return Cost(**meter.lap())  # type: ignore[arg-type]

    def _noise_floor(
        self, model: LanguageModel, adapter: Path | None, cell: EvalCell, asked: Asked
    ) -> Noise | None:
        """Measured on the first cell of each kind; the base is the same for all of a unit."""
        if cell.deterministic:
            return None
        if cell.decoding not in self._noise:
            bits = self._unit.bits
            self._noise[cell.decoding] = invariance.measure(model, adapter, asked.requests, bits)
        return self._noise[cell.decoding]

    def _adapter(self, work: EvalWork) -> Path | None:
        if work.adapter is None:
            return None
        folder = self._store.train_folder(work.adapter)
        if self._base.is_tuned:
            check_origin(folder, self._unit.base)
            return None
        check_adapter(folder, self._unit.base)
        return folder

    def _close(self, record: Record, lease: Lease) -> None:
        """Write the record, unless the cell has a new holder, whose record it then is."""
        try:
            lease.check()
        except LeaseLostError:
            self._emit({"event": "busy", "id": record.id})
            return
        self._store.put_record(record)
        if isinstance(record.cell, EvalCell) and record.status == "done":
            self._store.drop_parts(record.id, record.cell)
        event: dict[str, object] = {"event": record.status, "id": record.id}
        if record.failure is not None:
            event["message"] = record.failure.message
        self._emit(event)


class _AskedItems:
    """The rendered items of subsets, kept from one adapter to the next, the latest `KEPT_ITEMS`.

    So are those that had to be made to fit, which takes long.
    """

    def __init__(
        self,
        store: Store,
        prompts: Sequence[UserPrompt],
        frame: Callable[[EvalCell], Frame | None],
    ) -> None:
        self._store = store
        self._prompts = prompts
        self._frame = frame
        self._kept: OrderedDict[tuple[object, ...], Asked] = OrderedDict()
        self._fitted: dict[tuple[object, ...], Fitted] = {}

    def of(self, work: EvalWork) -> Asked:
        """The items of an eval cell as they are asked."""
        cell = work.cell
        key = (*cell.asked_as, work.items)
        if key not in self._kept:
            items = self._store.items(cell.task, cell.subset, cell.items)[: work.items]
            pool = cell.exemplar_pool
            shots = self._store.items(cell.task, cell.subset, pool) if pool else None
            task = asking(cell, items, self._prompts)
            self._kept[key] = ask(task, cell, items, shots, self._frame(cell))
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and self._items() > KEPT_ITEMS:
            dropped, _ = self._kept.popitem(last=False)
            self._fitted.pop(dropped, None)
        return self._kept[key]

    def fitted(self, work: EvalWork, measure: Measure, context: int) -> Fitted:
        """The items of an eval cell as the unit's base can read them."""
        asked, key = self.of(work), (*work.cell.asked_as, work.items)
        if key not in self._fitted:
            self._fitted[key] = fit(measure, context, asked)
        return self._fitted[key]

    def _items(self) -> int:
        return sum(len(asked.examples) for asked in self._kept.values())


def _rows(part: Part) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for example, prompted, response in zip(
        part.examples, part.prompted, part.responses, strict=True
    ):
        if isinstance(response, ChoiceResponse):
            rows.append(schemas.choice_row(example, prompted.answers, response))
        else:
            rows.append(schemas.generate_row(example, response))
    return rows


def _total(costs: Sequence[Cost]) -> Cost | None:
    """Everything that a cell's answers cost, over all attempts; None where nothing is known."""
    if not costs:
        return None
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    joules = [cost.energy_joules for cost in costs if cost.energy_joules is not None]
    return Cost(
        seconds=sum(cost.seconds for cost in costs),
        load_seconds=sum(cost.load_seconds for cost in costs),
        peak_bytes=max(peaks, default=None),
        energy_joules=sum(joules) if len(joules) == len(costs) else None,
        energy_note=next((cost.energy_note for cost in costs if cost.energy_note), ""),
    )
