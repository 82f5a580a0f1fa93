"""Portfolios by skfolio: long only, fully invested, no stock above a limit."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from examples.quant.data import SESSIONS_PER_YEAR
from examples.quant.features import HORIZON

if TYPE_CHECKING:
    import pandas as pd

AT_BOUND = 1e-4
NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class Specification:
    """How to optimise: handed to the backtest, which fits it anew at each date instead of using today's weights."""

    objective: str = "maximize_ratio"
    lookback: int = 504
    max_weight: float = 0.15

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Optimised:
    weights: pd.Series
    diagnostics: dict[str, float | int | str]


def optimise(prices: pd.DataFrame, spec: Specification, predictions: pd.Series | None = None) -> Optimised:
    """The portfolio at the last close of `prices`.

    Covariance is shrunk (Ledoit-Wolf). Expected returns are the mean of all stocks, for differences of past means are
    mostly noise; predictions of relative returns over the next month, if given, set them apart.
    """
    import numpy as np
    import pandas as pd
    from skfolio.moments import LedoitWolf
    from skfolio.optimization import MeanRisk, ObjectiveFunction
    from skfolio.prior import EmpiricalPrior

    returns = prices.pct_change().iloc[-spec.lookback :]
    relative = pd.Series(0.0, index=prices.columns) if predictions is None else predictions.reindex(prices.columns)
    expected = (float(returns.mean().mean()) + relative.fillna(0.0) / HORIZON).to_numpy()
    objective = {
        "maximize_ratio": ObjectiveFunction.MAXIMIZE_RATIO,
        "minimize_risk": ObjectiveFunction.MINIMIZE_RISK,
    }[spec.objective]
    optimizer = MeanRisk(
        objective_function=objective,
        max_weights=spec.max_weight,
        prior_estimator=EmpiricalPrior(mu_estimator=_given(expected), covariance_estimator=LedoitWolf()),
        save_problem=True,
    ).fit(returns)
    weights = pd.Series(np.where(optimizer.weights_ < NOTHING, 0.0, optimizer.weights_), index=prices.columns)
    weights = weights / weights.sum()
    covariance = optimizer.prior_estimator_.return_distribution_.covariance
    return Optimised(weights, _diagnostics(weights, expected, covariance, spec, optimizer.problem_))


def _given(expected: Any) -> Any:
    """skfolio's estimator of means that answers what it was given."""
    from skfolio.moments import BaseMu

    class Given(BaseMu):
        def __init__(self, values: Any = None) -> None:
            self.values = values

        def fit(self, X: Any, y: Any = None) -> Given:
            self.mu_ = self.values
            return self

    return Given(expected)


def _diagnostics(
    weights: pd.Series, expected: Any, covariance: Any, spec: Specification, problem: Any
) -> dict[str, float | int | str]:
    import numpy as np

    w = weights.to_numpy()
    volatility = math.sqrt(float(w @ covariance @ w) * SESSIONS_PER_YEAR)
    expected_return = float(w @ expected) * SESSIONS_PER_YEAR
    concentration = float((w**2).sum())
    stocks_volatility = np.sqrt(np.diag(covariance) * SESSIONS_PER_YEAR)
    return {
        "expected_return": expected_return,
        "expected_volatility": volatility,
        "expected_sharpe": expected_return / volatility,
        "diversification_ratio": float(w @ stocks_volatility) / volatility,
        "effective_n": 1 / concentration,
        "concentration": concentration,
        "gross_exposure": float(np.abs(w).sum()),
        "net_exposure": float(w.sum()),
        "solver_status": str(problem.status),
        "iterations": int(problem.solver_stats.num_iters or 0),
        "active_constraints": int((w <= AT_BOUND).sum() + (w >= spec.max_weight - AT_BOUND).sum()),
    }


def factor_exposures(
    weights: pd.Series, prices: pd.DataFrame, factors: pd.DataFrame, lookback: int
) -> dict[str, float]:
    """Betas of the portfolio to the factor ETFs' returns; empty where they have too little history."""
    import numpy as np

    columns = factors.iloc[-lookback:].dropna(axis=1)
    if len(columns) < lookback or columns.empty:
        return {}
    factor_returns = columns.pct_change().iloc[1:]
    portfolio = prices.pct_change().loc[factor_returns.index] @ weights
    design = np.column_stack([np.ones(len(factor_returns)), factor_returns.to_numpy()])
    betas, *_ = np.linalg.lstsq(design, portfolio.to_numpy(), rcond=None)
    return {name: float(beta) for name, beta in zip(factor_returns.columns, betas[1:], strict=True)}
