"""Has the world moved away from what the model was trained on, and is the data sound? Thresholds: semantics §1."""

from __future__ import annotations

from datetime import datetime, time
from typing import TYPE_CHECKING, Any

from examples.quant.data import ZONE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

THRESHOLDS = {"psi": 0.20, "ks_statistic": 0.10, "missing_pct": 1.0, "outlier_pct": 5.0, "duplicate_pct": 0.0}
OUTLIER_DEVIATIONS = 8.0
PUBLISHED_AT = time(18, 0)


def psi(reference: np.ndarray, recent: np.ndarray, bins: int = 10) -> float:
    """Population stability index over the deciles of the reference."""
    import numpy as np

    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    expected = np.bincount(np.searchsorted(edges, reference), minlength=len(edges) + 1) / len(reference)
    actual = np.bincount(np.searchsorted(edges, recent), minlength=len(edges) + 1) / len(recent)
    expected, actual = np.clip(expected, 1e-4, None), np.clip(actual, 1e-4, None)
    return float(((actual - expected) * np.log(actual / expected)).sum())


def drift(reference: pd.DataFrame, recent: pd.DataFrame) -> pd.DataFrame:
    """Column → psi and Kolmogorov-Smirnov statistic of the two samples."""
    import pandas as pd
    from scipy.stats import ks_2samp

    rows = {}
    for name in reference.columns:
        before, after = reference[name].dropna().to_numpy(), recent[name].dropna().to_numpy()
        rows[name] = {"psi": psi(before, after), "ks_statistic": float(ks_2samp(before, after).statistic)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("feature")


def data_quality(prices: pd.DataFrame, now: datetime) -> dict[str, float]:
    """Percentages of values (of sessions, for duplicates); staleness since the last session was published."""
    returns = prices.pct_change(fill_method=None)
    deviation = returns.sub(returns.median()).abs()
    scale = deviation.median() * 1.4826
    published = datetime.combine(prices.index[-1].date(), PUBLISHED_AT, ZONE)
    return {
        "missing_pct": float(prices.isna().to_numpy().mean() * 100),
        "outlier_pct": float((deviation > OUTLIER_DEVIATIONS * scale).to_numpy().mean() * 100),
        "duplicate_pct": float(prices.index.duplicated().mean() * 100),
        "unchanged_pct": float((returns == 0).to_numpy().mean() * 100),
        "staleness_hours": max(0.0, (now - published).total_seconds() / 3600),
    }


def alerts(metrics: dict[str, Any]) -> list[dict[str, float | str]]:
    """What is above its threshold."""
    return [
        {"metric": name, "value": metrics[name], "threshold": threshold}
        for name, threshold in THRESHOLDS.items()
        if name in metrics and metrics[name] > threshold
    ]
