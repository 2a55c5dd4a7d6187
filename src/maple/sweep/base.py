"""A unit's base: loaded, trained on, asked, or reached on a server."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maple.errors import MapleError
from maple.models.files import SCRIPTED
from maple.models.templates import Template
from maple.protocols import LanguageModel
from maple.records import BaseModel, InstructionRow, TrainOutcome, TrainWork, Unit
from maple.store import Store
from maple.study.config import host

Emit = Callable[[Mapping[str, object]], None]
"""Receives events: "load", "loaded", "start", "progress", "done", "failed", "busy", "skipped"."""


class _Once:
    """Something that is made when it is first needed, once.

    Args:
        make: makes it; a ModelError of it is repeated later instead of trying again.
        emit: receives "load" with `about`, and "loaded".
    """

    def __init__(self, make: Callable[[], None], emit: Emit, about: Mapping[str, object]) -> None:
        self._make = make
        self._emit = emit
        self._about = about
        self._made = False
        self._error: MapleError | None = None

    def ensure(self) -> float:
        """Make it if it is not; the seconds that took."""
        if self._error is not None:
            raise self._error
        if self._made:
            return 0.0
        self._emit({"event": "load", **self._about})
        start = time.monotonic()
        try:
            self._make()
        except MapleError as error:
            self._error = error
            raise
        self._made = True
        self._emit({"event": "loaded"})
        return time.monotonic() - start


class UnitBase:
    """The unit's base model, in memory or on a server, each when the first cell needs it."""

    def __init__(self, unit: Unit, emit: Emit) -> None:
        self._unit = unit
        self._scripted = unit.base.name.startswith(SCRIPTED)
        self._engine: Any = None
        self._loaded: Any = None
        self._model: LanguageModel | None = None
        about = {"base": unit.base.name, "bits": unit.bits}
        server = host(unit.server.url) if unit.server else ""
        self._here = _Once(self._load, emit, about)
        self._there = _Once(self._connect, emit, {**about, "server": server})

    @property
    def is_tuned(self) -> bool:
        """Whether a model that was finetuned in full answers. A scripted one has adapters only."""
        return self._unit.tuned is not None and not self._scripted

    def _tuned(self) -> BaseModel:
        folder = Store(Path(self._unit.store)).train_folder(self._unit.tuned or "")
        return dataclasses.replace(self._unit.base, path=str(folder))

    def ensure_trainable(self) -> float:
        """Have the base in memory; the seconds that took.

        Raises:
            ModelError: it cannot be loaded.
        """
        return self._here.ensure()

    def ensure_model(self) -> float:
        """Have something that answers: the base in memory, or a server; the seconds that took.

        Raises:
            ModelError: the base cannot be loaded, or the server not be used.
        """
        return (self._here if self._unit.server is None else self._there).ensure()

    @property
    def model(self) -> LanguageModel:
        if self._model is None:
            raise RuntimeError("ensure_model() comes first")
        return self._model

    def train(
        self,
        work: TrainWork,
        rows: list[InstructionRow],
        held_out: Mapping[str, list[InstructionRow]],
        template: Template,
        out: Path,
        on_progress: Emit,
    ) -> TrainOutcome:
        if self._scripted:
            from maple.models.scripted import train_scripted

            return train_scripted(rows, work.cell, out)
        from maple.finetune.trainer import train

        # An adapter that answered before must not be trained upon.
        if self._engine is not None:
            self._engine.adapters.clear()
        return train(
            self._loaded,
            [template.render(row) for row in rows],
            work.cell,
            out,
            on_progress,
            texts=template.texts,
            languages=[row.language for row in rows],
            held_out={
                language: [template.render(row) for row in own]
                for language, own in held_out.items()
            },
            execution=work.execution,
        )

    def _load(self) -> None:
        # Imported here: the scripted model must not pay for torch.
        if self._scripted:
            from maple.models.scripted import ScriptedModel

            self._model = ScriptedModel(self._unit.base.name.removeprefix(SCRIPTED))
            return
        from maple.models.loading import load

        self._loaded = load(self._unit.base, self._unit.bits)
        if self._unit.server is None:
            from maple.models.engine import TransformersModel

            self._engine = TransformersModel(self._loaded)
            if self.is_tuned:
                # One after the other: only what the base says to the probes is kept of it.
                untuned, self._engine, self._loaded = self._engine.probe(), None, None
                self._loaded = load(self._tuned(), self._unit.bits)
                self._engine = TransformersModel(self._loaded, untuned)
            self._model = self._engine

    def _connect(self) -> None:
        from maple.models.server import ServerModel

        if self._unit.server is None:
            raise RuntimeError("asked for a server that the unit does not have")
        self._model = ServerModel(self._unit.base, self._unit.server)
