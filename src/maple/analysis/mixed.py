"""Linear mixed models with crossed random effects, by profiled REML.

Adapters and languages are crossed: every adapter answers in every language, so that neither nests
in the other. statsmodels fits crossed effects with a dense covariance of all observations, which is
out of reach for the 20,000 cell means of a study; here the cost is that of the random effects'
cross-products (Bates, Maechler, Bolker & Walker 2015, the algorithm of lme4, dense). A test
compares both on a small design.

Letters in shapes: n observations, p fixed effects, q random effects, b resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, sparse
from threadpoolctl import threadpool_limits

from maple.analysis.estimates import Floats, Replicates

# Standard deviations of random effects, relative to the residual's.
_MOST, _SMALL, _NEARLY_0 = 1e3, 0.3, 1e-3
_ROUNDING = 1e-8


@dataclass(frozen=True, slots=True)
class Term:
    """One variance component.

    Attributes:
        name: what varies.
        columns: [n, levels], the level of each observation times its covariate.
    """

    name: str
    columns: sparse.csr_array


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model.

    Attributes:
        fixed: effects, [p].
        covariance: theirs, [p, p], given the variance components.
        deviations: standard deviation of each term, by name, in the unit of the observations.
        residual: standard deviation of what is left.
    """

    fixed: Floats
    covariance: Floats
    deviations: dict[str, float]
    residual: float
    _operator: Floats

    def again(self, observations: Replicates | Floats) -> Floats:
        """Fixed effects of other observations under the same variance components.

        Args:
            observations: [n, b].

        Returns:
            [p, b].
        """
        return np.asarray(self._operator @ observations)


def term(name: str, levels: Sequence[object], covariate: Floats | None = None) -> Term:
    """A random intercept of `levels`, or a random slope over `covariate`, [n] each."""
    order = {level: place for place, level in enumerate(dict.fromkeys(levels))}
    places = [order[level] for level in levels]
    values = np.ones(len(levels)) if covariate is None else covariate
    columns = sparse.csr_array(
        (values, (np.arange(len(levels)), places)), shape=(len(levels), len(order))
    )
    return Term(name, columns)


def independent(columns: Floats, strata: Sequence[object]) -> list[int]:
    """Places of the columns that means of strata and the columns before them do not determine.

    Args:
        columns: [n, p].
        strata: of each row, [n].
    """
    inside = term("strata", strata).columns
    counts = np.asarray(inside.sum(axis=0))[:, None]
    left = columns - inside @ ((inside.T @ columns) / counts)
    kept: list[int] = []
    basis = np.zeros((len(columns), 0))
    for place in range(columns.shape[1]):
        rest = left[:, place] - basis @ (basis.T @ left[:, place])
        # Once more: the first pass leaves rounding errors along the basis.
        rest = rest - basis @ (basis.T @ rest)
        size = float(np.linalg.norm(rest))
        if size > _ROUNDING * max(1.0, float(np.linalg.norm(columns[:, place]))):
            kept.append(place)
            basis = np.column_stack([basis, rest / size])
    return kept


def fit(
    observations: Floats, fixed: Floats, terms: Sequence[Term], strata: Sequence[object]
) -> Fit:
    """Estimate a model.

    Each stratum has a mean of its own, a fixed effect that is never written down: REML is the
    likelihood of contrasts within strata.

    Args:
        observations: [n].
        fixed: columns of the fixed effects, [n, p], of full rank within strata.
        terms: variance components, independent of each other.
        strata: of each observation, [n].

    Raises:
        ValueError: no observation to spare, or fixed effects that cannot be told apart.
    """
    # Matrices of a few hundred rows: threads gain little, and lose all of it on a busy machine.
    with threadpool_limits(1):
        return _fitted(observations, fixed, terms, strata)


def _fitted(
    observations: Floats, fixed: Floats, terms: Sequence[Term], strata: Sequence[object]
) -> Fit:
    model = _Model(observations, fixed, terms, strata)
    if model.free <= 0:
        raise ValueError(f"too few cell means to tell chance by: {len(observations)}")
    scales = model.least(np.ones(len(terms)))
    gone = scales < _NEARLY_0
    if gone.any():
        # The criterion is level where a component is 0: a start there would stay there.
        again = model.least(np.where(gone, _SMALL, scales))
        scales = min((scales, again), key=model.deviance)
    return model.solved(scales, [one.name for one in terms])


class _Model:
    """Cross-products of a model within strata, computed once."""

    def __init__(
        self,
        observations: Floats,
        fixed: Floats,
        terms: Sequence[Term],
        strata: Sequence[object],
    ) -> None:
        number, self.effects = fixed.shape
        inside = term("strata", strata).columns
        self.sizes = [one.columns.shape[1] for one in terms]
        self.inner = (
            sparse.csr_array(sparse.hstack([one.columns for one in terms]))
            if terms
            else sparse.csr_array((number, 0))
        )
        # Subtracting each stratum's mean from one side of a product takes it from both.
        counts = np.asarray(inside.sum(axis=0))
        self.outer = fixed - inside @ ((inside.T @ fixed) / counts[:, None])
        seen = observations - inside @ ((inside.T @ observations) / counts)
        means = (inside.T @ self.inner).toarray() / counts[:, None]
        self._inside, self._means = inside, means
        self.free = number - len(counts) - self.effects
        self.xx = self.outer.T @ self.outer
        self.zx = np.asarray(self.inner.T @ self.outer)
        self.zz = (self.inner.T @ self.inner).toarray() - (means * counts[:, None]).T @ means
        self.xy = self.outer.T @ seen
        self.zy = np.asarray(self.inner.T @ seen)
        self.yy = float(seen @ seen)

    def deviance(self, scales: Floats) -> float:
        """The REML criterion at relative standard deviations of the terms."""
        lower, _, root, rest, _ = self._solve(scales)
        logs = 2 * (np.log(np.diag(lower)).sum() + np.log(np.diag(root)).sum())
        return float(logs + self.free * (1 + np.log(2 * np.pi * rest / self.free)))

    def least(self, start: Floats) -> Floats:
        """Relative standard deviations of the terms with the lowest criterion near `start`."""
        if not len(start):
            return start
        bounds = [(0.0, _MOST)] * len(start)
        found = optimize.minimize(self.deviance, start, method="L-BFGS-B", bounds=bounds)
        return np.asarray(found.x)

    def solved(self, scales: Floats, names: Sequence[str]) -> Fit:
        """The model at the scales that were found."""
        lower, across, root, rest, fixed = self._solve(scales)
        residual = float((rest / self.free) ** 0.5)
        project = linalg.cho_solve((root, True), np.eye(self.effects))
        back = linalg.solve_triangular(lower, across, lower=True, trans="T")
        inner = self._spread(scales)[:, None] * back
        random = np.asarray(self.inner @ inner) - np.asarray(self._inside @ (self._means @ inner))
        return Fit(
            fixed=fixed,
            covariance=residual**2 * project,
            deviations={
                name: float(scale) * residual for name, scale in zip(names, scales, strict=True)
            },
            residual=residual,
            _operator=project @ (self.outer - random).T,
        )

    def _spread(self, scales: Floats) -> Floats:
        return np.repeat(scales, self.sizes)

    def _solve(self, scales: Floats) -> tuple[Floats, Floats, Floats, float, Floats]:
        """Factors of the penalised least squares, the penalised sum of squares, fixed effects."""
        spread = self._spread(scales)
        scaled = spread[:, None] * self.zz * spread + np.eye(len(spread))
        lower = linalg.cholesky(scaled, lower=True, overwrite_a=True, check_finite=False)
        across = linalg.solve_triangular(lower, spread[:, None] * self.zx, lower=True)
        random = linalg.solve_triangular(lower, spread * self.zy, lower=True)
        try:
            root = linalg.cholesky(self.xx - across.T @ across, lower=True)
        except linalg.LinAlgError as error:
            raise ValueError("fixed effects that cannot be told apart") from error
        half = linalg.solve_triangular(root, self.xy - across.T @ random, lower=True)
        rest = max(self.yy - float(random @ random) - float(half @ half), 1e-12 * self.yy + 1e-300)
        fixed = linalg.solve_triangular(root, half, lower=True, trans="T")
        return lower, across, root, rest, fixed
