"""Market data: real daily closes that skfolio ships, with their sessions moved so that they end at today's market.

The source has 8,313 sessions of XNYS, 1990-01-02 to 2022-12-28, of 20 stocks of the S&P 500, the index itself, and
(from 2014) five factor ETFs. Row k of the source is dated session k of XNYS counted from 2000-01-03. What lies in the
future is not published yet: every session day adds one real row, and no row ever changes its date.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from importlib.metadata import distribution
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import pandas as pd

CALENDAR = "XNYS"
ZONE = ZoneInfo("America/New_York")
FIRST_SESSION = "2000-01-03"
SESSIONS_PER_YEAR = 252


@dataclass(frozen=True, slots=True)
class Market:
    """Closing prices by session: stocks, the S&P 500, factor ETFs (empty cells before they were listed)."""

    prices: pd.DataFrame
    benchmark: pd.DataFrame
    factors: pd.DataFrame


def load_market(now: datetime) -> Market:
    """What is known at `now` (aware): everything up to the last session before that day in New York."""
    prices, benchmark, factors = _source()
    sessions = _sessions_before(now.astimezone(ZONE).date())
    sessions = sessions[-len(prices) :]
    return Market(*(frame.iloc[: len(sessions)].set_axis(sessions) for frame in (prices, benchmark, factors)))


def _sessions_before(day: date) -> pd.DatetimeIndex:
    import exchange_calendars
    import pandas as pd

    yesterday = day - timedelta(days=1)
    calendar = exchange_calendars.get_calendar(CALENDAR, start=FIRST_SESSION, end=yesterday.isoformat())
    return pd.DatetimeIndex(calendar.sessions, name="date").as_unit("us")


@lru_cache(maxsize=1)
def _source() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    prices = _shipped("sp500_dataset")
    benchmark = _shipped("sp500_index").reindex(prices.index)
    factors = _shipped("factors_dataset").reindex(prices.index)
    return prices, benchmark, factors


def _shipped(name: str) -> pd.DataFrame:
    """A file of skfolio as `skfolio.datasets` loads it, which would import scikit-learn for it (0.7 s, 90 MiB)."""
    import pandas as pd

    file = distribution("skfolio").locate_file(f"skfolio/datasets/data/{name}.csv.gz")
    closes = pd.read_csv(str(file), index_col=0)
    closes.index = pd.to_datetime(closes.index, format="%Y-%m-%d")
    return closes
