"""Trading a strategy through history: decided at one close, traded at the next, held and drifting until the next time.

No decision sees a price later than its own close, and none is filled at the close it was made on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

SMALLEST_TRADE = 1e-4


@dataclass(frozen=True, slots=True)
class Simulation:
    """`daily_returns` are after costs; `trades` in weights of the portfolio at the time."""

    daily_returns: pd.Series
    equity_curve: pd.Series
    weights_history: pd.DataFrame
    trades: pd.DataFrame
    turnover: float
    costs: float


Decide = Callable[[int], "pd.Series"]
"""Position of a session → target weights, from what was known at that session's close."""


def simulate(
    prices: pd.DataFrame,
    decisions: list[int],
    decide: Decide,
    *,
    cost_bps: float,
    capital: float = 1_000_000.0,
    on_period: Callable[[int, int], None] = lambda done, total: None,
) -> Simulation:
    """Trade at the session after each decision until the end of the prices.

    `turnover` is per year and one way (half of what was bought and sold); `costs` is what they took of the capital.
    """
    import numpy as np
    import pandas as pd

    returns = prices.pct_change().to_numpy()
    held = np.zeros(prices.shape[1])
    daily: list[tuple[int, float]] = []
    history: dict[pd.Timestamp, np.ndarray] = {}
    trades, traded, costs, equity = [], 0.0, 0.0, capital
    ends = [*decisions[1:], len(prices) - 2]
    for done, (decided, until) in enumerate(zip(decisions, ends, strict=True)):
        target = decide(decided).reindex(prices.columns).fillna(0.0).to_numpy()
        session, change = decided + 1, target - held
        if session >= len(prices):
            break
        traded += float(np.abs(change).sum()) / 2
        for stock in np.flatnonzero(np.abs(change) > SMALLEST_TRADE):
            trades.append((prices.index[session], prices.columns[stock], change[stock], change[stock] * equity))
        history[prices.index[session]] = held = target
        charge = float(np.abs(change).sum()) * cost_bps / 10_000
        costs += charge * equity
        for day in range(session + 1, until + 2):
            grown = 1 + float(held @ returns[day])
            held = held * (1 + returns[day]) / grown
            daily.append((day, grown * (1 - charge) - 1))
            equity *= grown * (1 - charge)
            charge = 0.0
        on_period(done + 1, len(decisions))
    days, earned_daily = zip(*daily, strict=True)
    daily_returns = pd.Series(earned_daily, index=prices.index[list(days)], name="daily_return")
    return Simulation(
        daily_returns=daily_returns,
        equity_curve=(capital * (1 + daily_returns).cumprod()).rename("equity"),
        weights_history=pd.DataFrame.from_dict(history, orient="index", columns=prices.columns).rename_axis("date"),
        trades=pd.DataFrame(trades, columns=["date", "stock", "weight_change", "notional"]),
        turnover=traded / (len(daily) / 252),
        costs=costs / capital,
    )


def month_ends(sessions: pd.DatetimeIndex) -> list[int]:
    """Positions of the last session of each month that has one after it."""
    months = sessions.year * 12 + sessions.month
    return [position for position in range(len(sessions) - 1) if months[position] != months[position + 1]]
