"""A ridge regression of next month's relative return, judged only by predictions of years it has not seen.

Walk forward: each test year is predicted by a model trained on what came before, less `HORIZON` sessions, because the
targets of those reach into the test year.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from examples.quant.features import FEATURES, HORIZON

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Model:
    """Linear in the ranked features; `residual_std` is that of predictions out of sample."""

    features: tuple[str, ...]
    coefficients: tuple[float, ...]
    intercept: float
    residual_std: float

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        return rows[list(self.features)].to_numpy() @ self.coefficients + self.intercept

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "ridge",
            "features": list(self.features),
            "coefficients": list(self.coefficients),
            "intercept": self.intercept,
            "residual_std": self.residual_std,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Model:
        return cls(
            tuple(document["features"]),
            tuple(document["coefficients"]),
            float(document["intercept"]),
            float(document["residual_std"]),
        )


def fit(rows: pd.DataFrame, alpha: float, residual_std: float = math.nan) -> Model:
    from sklearn.linear_model import Ridge

    ridge = Ridge(alpha=alpha).fit(rows[list(FEATURES)].to_numpy(), rows["target"].to_numpy())
    return Model(FEATURES, tuple(float(c) for c in ridge.coef_), float(ridge.intercept_), residual_std)


def walk_forward(rows: pd.DataFrame, sessions: pd.DatetimeIndex, alpha: float, years: int) -> pd.DataFrame:
    """(session, stock) → prediction and target of the last `years` years, each predicted by the past alone."""
    import pandas as pd

    dates = rows.index.get_level_values(0)
    test_years = sorted(set(dates.year))[-years:]
    predicted = []
    for year in test_years:
        test = rows[dates.year == year]
        first_test = sessions.searchsorted(test.index[0][0])
        train = rows[dates < sessions[max(0, first_test - HORIZON)]]
        if len(train) < 500:
            continue
        predicted.append(pd.DataFrame({"prediction": fit(train, alpha).predict(test), "target": test["target"]}))
    if not predicted:
        raise ValueError(f"{len(rows)} rows are too few to validate {years} years")
    return pd.concat(predicted)


def regression_metrics(predicted: pd.DataFrame) -> dict[str, float]:
    """rmse, mae, r2 and ic: the mean over sessions of the rank correlation of prediction and target."""
    import numpy as np

    error = predicted["prediction"] - predicted["target"]
    spread = predicted["target"] - predicted["target"].mean()
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(error.abs().mean()),
        "r2": float(1 - (error**2).sum() / (spread**2).sum()),
        "ic": float(information_coefficients(predicted).mean()),
    }


def direction_metrics(predicted: pd.DataFrame) -> dict[str, float]:
    """Does it tell the stocks that will do better than the mean from the rest?"""
    from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

    actual, said = predicted["target"] > 0, predicted["prediction"] > 0
    return {
        "accuracy": float(accuracy_score(actual, said)),
        "auc": float(roc_auc_score(actual, predicted["prediction"])),
        "precision": float(precision_score(actual, said, zero_division=0)),
        "recall": float(recall_score(actual, said, zero_division=0)),
        "f1": float(f1_score(actual, said, zero_division=0)),
    }


def information_coefficients(predicted: pd.DataFrame) -> pd.Series:
    """Session → rank correlation across the stocks."""
    ranks = predicted.groupby(level=0).rank()
    centred = ranks - ranks.groupby(level=0).transform("mean")
    products = (centred["prediction"] * centred["target"]).groupby(level=0).sum()
    squares = (centred**2).groupby(level=0).sum()
    return (products / (squares["prediction"] * squares["target"]) ** 0.5).dropna()
