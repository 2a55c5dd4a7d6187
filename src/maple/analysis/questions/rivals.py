"""H10 and H11: fine-tuned adapters against GPT-4, and against full fine-tuning."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import chain

import numpy as np

from maple.analysis.effects import MARGIN, Effect, average, design
from maple.analysis.observed import Adapter, Observation, Observed, arm, complete, intended, whole
from maple.analysis.published import SOURCE, Published, published
from maple.analysis.questions.cases import Case, known, parts
from maple.analysis.questions.evidence import Evidence
from maple.analysis.questions.matched import Pair, data_of, difference
from maple.analysis.significance import bonferroni
from maple.records import TrainCell

_TASKS = ("mlqa", "xquad")


def passes_gpt4(evidence: Evidence) -> Case:
    """H10: whether tuned adapters of Mistral-7B pass what is published of GPT-4."""
    case = Case(
        "H10",
        "Tuned Mistral-7B passes GPT-4 on MLQA and XQuAD.",
        "mean F1 of the tuned adapters minus GPT-4's published one, over shared languages; "
        "both tasks must",
        note=SOURCE,
    )
    wanted = [
        one
        for one in evidence.observed.all
        if "mistral-7b" in one.cell.base_name.lower() and one.unit[0].task in _TASKS
    ]
    if not wanted:
        return dataclasses.replace(
            case, missing="no base of the study is Mistral-7B, asked in MLQA or XQuAD"
        )
    effects = dict(
        known(
            (
                task,
                _against(
                    evidence.observed,
                    [one for one in wanted if one.unit[0].task == task],
                    [one for one in published(task, "f1") if one.system == "GPT-4"],
                ),
            )
            for task in _TASKS
        )
    )
    case = dataclasses.replace(case, parts=parts(effects.items()))
    lacking = [task for task in _TASKS if task not in effects]
    if lacking:
        missing = f"{' and '.join(lacking)} was not asked in a language that is published"
        return dataclasses.replace(case, missing=missing)
    return dataclasses.replace(
        case,
        effect=min(effects.values(), key=lambda one: one.value),
        right=bonferroni(max(one.above() for one in effects.values())),
        wrong=bonferroni(min(one.below() for one in effects.values()), 4),
        note=(
            f"{case.note} Another prompt, other exemplars, perhaps other items: a difference "
            "of protocols is in the effect. The effect shown is that of the worse task."
        ),
    )


def lora_beats_full(evidence: Evidence) -> Case:
    """H11: whether LoRA is better than full fine-tuning in some task."""
    case = Case(
        "H11",
        "LoRA sometimes beats full fine-tuning.",
        "LoRA minus full fine-tuning on the same base, data and seed, mean over languages; "
        "the task where it is best",
    )
    tasks = dict.fromkeys(one.unit[0].task for one in evidence.observed.all)
    effects = dict(known((task, _lora_against_full(evidence.observed, task)) for task in tasks))
    if not effects:
        return dataclasses.replace(
            case, missing="the study has no LoRA adapter beside a full fine-tuning"
        )
    return dataclasses.replace(
        case,
        effect=max(effects.values(), key=lambda one: one.value),
        # One task is enough to be right, so that each may be tried, at a price.
        right=bonferroni(min(one.above() for one in effects.values()), 2 * len(effects)),
        wrong=bonferroni(max(one.below(MARGIN) for one in effects.values())),
        parts=parts(effects.items()),
        note=(
            "LoRA of several ranks and precisions counts as their mean. With one seed, the "
            "interval is about this very full fine-tuning."
        ),
    )


def _against(
    observed: Observed, wanted: Sequence[Observation], references: Sequence[Published]
) -> Effect | None:
    """Mean over adapters of the mean over languages of the score minus the published one."""
    # Of several modes the best: to pass it is to pass them all.
    best: dict[str, float] = {}
    for one in references:
        best[one.language] = max(one.value, best.get(one.language, one.value))
    shared = [one for one in wanted if one.language.key in best]
    kept, _ = complete(shared)
    if not kept:
        return None
    values, replicates = [], []
    for found in kept.values():
        own, drawn = observed.mean_points(found)
        values.append(own - np.mean([best[one.language.key] for one in found]))
        replicates.append(drawn)
    cells = [found[0].cell for found in kept.values()]
    columns = intended(cells, [cell.train_bits for cell in cells])
    return average(np.array(values), np.stack(replicates), observed.groups(shared), columns)


def _lora_against_full(observed: Observed, task: str) -> Effect | None:
    """Mean difference in points over full fine-tunings, each against all LoRA adapters like it.

    Adapters that are compared with the same full fine-tuning share its luck, so that chance is
    told by how much full fine-tunings of other seeds differ; where there are none, by the
    adapters, for this very one.
    """
    seen = [one for one in observed.all if one.unit[0].task == task]
    full = [one for one in seen if one.cell.method == "full"]
    of_both: dict[tuple[Adapter, Adapter], list[Pair]] = {}
    for one in seen:
        for other in full if one.cell.method == "lora" else ():
            if (_beside_method(one.cell), one.unit) == (_beside_method(other.cell), other.unit):
                of_both.setdefault((one.adapter, other.adapter), []).append((one, other))
    if not of_both:
        return None
    kept = whole(of_both, lambda pair: pair[0].unit)
    differences = [difference(observed, pairs) for pairs in kept.values()]
    each = np.array([value for value, _ in differences])
    drawn = np.stack([drawn for _, drawn in differences])
    groups = observed.groups(one for pairs in kept.values() for one, _ in pairs)
    of_full: dict[Adapter, list[int]] = {}
    for place, (_, name) in enumerate(kept):
        of_full.setdefault(name, []).append(place)
    trained = {other.adapter: other.cell for _, other in chain.from_iterable(kept.values())}
    found = average(
        np.array([each[places].mean() for places in of_full.values()]),
        np.stack([drawn[places].mean(axis=0) for places in of_full.values()]),
        groups,
        design([[arm(trained[name]) for name in of_full]]),
    )
    if found.source("adapters") is not None:
        return found
    cells = [pairs[0][0].cell for pairs in kept.values()]
    columns = intended(cells, [cell.train_bits for cell in cells])
    return average(each, drawn, groups, columns)


def _beside_method(cell: TrainCell) -> tuple[object, ...]:
    """Without the learning rate, which methods need different ones of."""
    return cell.base_name, data_of(cell), cell.template_name, cell.transform, cell.seed
