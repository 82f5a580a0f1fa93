"""Real prices at moved dates."""

from datetime import UTC, date, datetime

import pandas as pd
import pytest
from skfolio.datasets import load_factors_dataset, load_sp500_dataset, load_sp500_index

from examples.quant.data import _source, load_market


def last_session(now):
    return load_market(now).prices.index[-1].date()


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2025, 1, 13, 17, tzinfo=UTC), date(2025, 1, 10)),  # Monday: Friday
        (datetime(2025, 9, 2, 17, tzinfo=UTC), date(2025, 8, 29)),  # Tuesday after Labor Day: Friday
        (datetime(2025, 1, 14, 3, tzinfo=UTC), date(2025, 1, 10)),  # still Monday in New York
        (datetime(2025, 1, 10, 17, tzinfo=UTC), date(2025, 1, 8)),  # the closure of the 9th
    ],
)
def test_the_last_session_is_the_one_before_today_in_new_york(now, expected):
    assert last_session(now) == expected


def test_a_session_later_there_is_one_row_more_and_no_other_has_changed(market):
    later = load_market(datetime(2025, 1, 15, 12, tzinfo=UTC))
    pd.testing.assert_frame_equal(later.prices.iloc[:-1], market.prices)


def test_after_the_source_is_used_up_its_end_is_at_today():
    far = load_market(datetime(2040, 1, 10, 12, tzinfo=UTC))
    assert len(far.prices) == 8313
    assert far.prices.index[-1].date() == date(2040, 1, 9)


def test_the_source_is_what_skfolio_loads():
    loaded = load_sp500_dataset(), load_sp500_index(), load_factors_dataset()
    prices, benchmark, factors = _source()
    pd.testing.assert_frame_equal(prices, loaded[0])
    pd.testing.assert_frame_equal(benchmark, loaded[1].reindex(prices.index))
    pd.testing.assert_frame_equal(factors, loaded[2].reindex(prices.index))


def test_prices_index_and_factors_share_their_sessions(market):
    assert market.prices.shape[1] == 20
    assert market.prices.index.equals(market.benchmark.index)
    assert market.prices.index.equals(market.factors.index)
    assert not market.prices.isna().to_numpy().any()
