"""What the harness's filters and `process_results` make of an answer, and which of it we store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np


def scores(
    task: Any, doc: Mapping[str, Any], results: Sequence[object]
) -> Iterator[tuple[str, object]]:
    """Each metric under each filter, the harness's rules applied to one document.

    Args:
        task: an `lm_eval.api.task.ConfigurableTask`.
        doc: the document.
        results: what a model of the harness gives to each of its requests.
    """
    from lm_eval.api.instance import Instance

    kind = "generate_until" if task.OUTPUT_TYPE == "generate_until" else "loglikelihood"
    requests = [
        Instance(kind, doc, (), number, (task.config.task, 0, 1), [result])
        for number, result in enumerate(results)
    ]
    filters = task._filters  # noqa: SLF001  apply_filters() wants a whole run's requests
    for ensemble in filters:
        ensemble.apply(requests)
        filtered = [request.filtered_resps[ensemble.name] for request in requests]
        for metric, value in task.process_results(doc, filtered).items():
            alone = len(filters) == 1 and ensemble.name == "none"
            yield (metric if alone else f"{metric}[{ensemble.name}]"), value


def probed(
    task: Any, doc: Mapping[str, Any], answers: Sequence[Sequence[object]]
) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """Names of the metrics that can be stored an item each; the others with the reason.

    Found by scoring made-up answers to a document, since a task's own code may give any metric it
    likes. One that other documents lack, or give otherwise, fails when those are scored.

    Args:
        task, doc: as for `scores`.
        answers: the results of a right answer, of a wrong one, and so on.
    """
    from lm_eval.api.metrics import mean

    found: dict[str, list[object]] = {}
    for results in answers:
        for name, value in scores(task, doc, results):
            found.setdefault(name, []).append(value)
    usable: list[str] = []
    left_out: dict[str, str] = {}
    for name, values in found.items():
        metric = name.partition("[")[0]
        # The harness averages what has no aggregation of its own.
        aggregation = task.aggregation().get(metric, mean)
        if aggregation is not mean:
            how = getattr(aggregation, "__name__", "a function of its own")
            left_out[name] = f"a figure of the whole set ({how}), no mean over items"
        elif task.higher_is_better().get(metric) is False:
            left_out[name] = "lower is better, and reports read a higher score as a better one"
        elif None in map(share, values):
            left_out[name] = "its value for an item is no number from 0 to 1"
        else:
            usable.append(name)
    return tuple(usable), left_out


def share(value: object) -> float | None:
    """A value as the number from 0 to 1 that every score in a store is; None if it is none."""
    if not isinstance(value, (Real, np.bool_)):
        return None
    number = float(value)
    return number if 0 <= number <= 1 else None
