"""The mixed model against statsmodels, and what it does where nothing can be fitted."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from maple.analysis.mixed import fit, term

ADAPTERS, LANGUAGES = 12, 9


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    adapter = np.repeat(np.arange(ADAPTERS), LANGUAGES)
    language = np.tile(np.arange(LANGUAGES), ADAPTERS)
    dose = np.log2([8, 16, 32, 64] * 3)[adapter] - 4.5
    luck = rng.normal(0, 1.5, ADAPTERS)[adapter] + rng.normal(0, 2.0, LANGUAGES)[language]
    slopes = rng.normal(0, 0.8, LANGUAGES)[language] * dose
    y = 2 + 0.5 * dose + luck + slopes + rng.normal(0, 1.0, len(adapter))
    return {"adapter": adapter, "language": language, "dose": dose, "y": y}


def test_crossed_effects_are_those_of_statsmodels(drawn: dict[str, np.ndarray]) -> None:
    adapter, language = drawn["adapter"].tolist(), drawn["language"].tolist()
    ours = fit(
        drawn["y"],
        drawn["dose"][:, None],
        [
            term("adapter", adapter),
            term("language", language),
            term("slope", language, drawn["dose"]),
        ],
        [0] * len(adapter),
    )
    parts = {"a": "0 + C(adapter)", "l": "0 + C(language)", "s": "0 + C(language):dose"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sm.MixedLM.from_formula(
            "y ~ dose", pd.DataFrame({**drawn, "all": 1}), groups="all", vc_formula=parts
        ).fit(reml=True)
    assert ours.fixed[0] == pytest.approx(theirs.params["dose"], rel=1e-3)
    assert ours.covariance[0, 0] ** 0.5 == pytest.approx(theirs.bse["dose"], rel=0.01)
    assert ours.residual**2 == pytest.approx(theirs.scale, rel=0.01)
    variances = [ours.deviations[name] ** 2 for name in ("adapter", "language", "slope")]
    assert variances == pytest.approx(theirs.vcomp.tolist(), rel=0.03)


def test_strata_are_fixed_means(drawn: dict[str, np.ndarray]) -> None:
    """Languages as strata, and as columns of their own."""
    adapter, language = drawn["adapter"].tolist(), drawn["language"].tolist()
    absorbed = fit(drawn["y"], drawn["dose"][:, None], [term("adapter", adapter)], language)
    columns = np.eye(LANGUAGES)[drawn["language"]][:, 1:]
    written = fit(
        drawn["y"],
        np.column_stack([drawn["dose"], columns]),
        [term("adapter", adapter)],
        [0] * len(adapter),
    )
    assert absorbed.fixed[0] == pytest.approx(written.fixed[0], rel=1e-6)
    assert absorbed.covariance[0, 0] == pytest.approx(written.covariance[0, 0], rel=1e-4)
    assert absorbed.residual == pytest.approx(written.residual, rel=1e-5)


def test_other_observations_under_the_same_components(drawn: dict[str, np.ndarray]) -> None:
    adapter, language = drawn["adapter"].tolist(), drawn["language"].tolist()
    terms = [term("adapter", adapter), term("slope", language, drawn["dose"])]
    found = fit(drawn["y"], drawn["dose"][:, None], terms, language)
    moved = np.column_stack([drawn["y"], drawn["y"] + 3 * drawn["dose"], 2 * drawn["y"]])
    assert found.again(moved)[0] == pytest.approx(
        [found.fixed[0], found.fixed[0] + 3, 2 * found.fixed[0]]
    )


def test_without_random_effects_it_is_least_squares(drawn: dict[str, np.ndarray]) -> None:
    found = fit(drawn["y"], drawn["dose"][:, None], [], [0] * len(drawn["y"]))
    slope, _ = np.polyfit(drawn["dose"], drawn["y"], 1)
    assert found.fixed[0] == pytest.approx(slope)


def test_what_cannot_be_told_apart_is_refused(drawn: dict[str, np.ndarray]) -> None:
    twice = np.column_stack([drawn["dose"], drawn["dose"]])
    with pytest.raises(ValueError, match="cannot be told apart"):
        fit(drawn["y"], twice, [], [0] * len(drawn["y"]))
    with pytest.raises(ValueError, match="too few cell means"):
        fit(drawn["y"][:2], drawn["dose"][:2, None], [], [0, 1])
