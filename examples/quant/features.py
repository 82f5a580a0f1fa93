"""Features and targets: each value of a session uses that session's close and earlier ones, never later ones.

Only `forward_returns` looks ahead, for targets; whoever trains on it has to leave `HORIZON` sessions between training
and test (see `model.walk_forward`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

LOOKBACK, SKIP = 252, 21
HORIZON = 21
FEATURES = ("momentum", "reversal_5", "reversal_21", "volatility_63", "drawdown_252", "trend_63")


def momentum(prices: pd.DataFrame, lookback: int = LOOKBACK, skip: int = SKIP) -> pd.DataFrame:
    """Return from `lookback` to `skip` sessions ago, standardised across the stocks of each session."""
    import numpy as np

    raw = np.log(prices.shift(skip) / prices.shift(lookback)).iloc[lookback:]
    return raw.sub(raw.mean(axis=1), axis=0).div(raw.std(axis=1), axis=0)


def raw_features(prices: pd.DataFrame, signal: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Feature → session × stock, in their own units; the signal is momentum as published."""
    import numpy as np

    returns = np.log(prices).diff()
    return {
        "momentum": signal.reindex(index=prices.index, columns=prices.columns),
        "reversal_5": -returns.rolling(5).sum(),
        "reversal_21": -returns.rolling(21).sum(),
        "volatility_63": returns.rolling(63).std() * np.sqrt(252),
        "drawdown_252": prices / prices.rolling(252).max() - 1,
        "trend_63": prices / prices.rolling(63).mean() - 1,
    }


def ranked(features: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Each session's ranks, from -0.5 to 0.5: comparable through the decades."""
    return {name: frame.rank(axis=1, pct=True) - 0.5 for name, frame in features.items()}


def forward_returns(prices: pd.DataFrame, horizon: int = HORIZON) -> pd.DataFrame:
    """Return of the next `horizon` sessions relative to the mean of all stocks; empty at the end."""
    ahead = prices.shift(-horizon) / prices - 1
    return ahead.sub(ahead.mean(axis=1), axis=0)


def stacked(features: dict[str, pd.DataFrame], target: pd.DataFrame, every: int = 5) -> pd.DataFrame:
    """(session, stock) → features and target, of every fifth session, where everything is known.

    All frames have the same sessions.
    """
    import pandas as pd

    columns = {name: frame.iloc[::every].stack() for name, frame in features.items()}
    columns["target"] = target.iloc[::every].stack()
    return pd.DataFrame(columns).dropna().rename_axis(["date", "stock"]).sort_index()
