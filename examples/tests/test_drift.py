"""Alerts are raised where they should be, and only there."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from examples.quant.data import ZONE
from examples.quant.drift import alerts, data_quality, drift, psi

RANDOM = np.random.default_rng(3)
SAMPLE = RANDOM.normal(size=5_000)


def test_the_same_distribution_has_no_drift():
    measured = drift(pd.DataFrame({"x": SAMPLE}), pd.DataFrame({"x": RANDOM.normal(size=5_000)}))
    assert alerts(measured.loc["x"].to_dict()) == []


def test_a_moved_distribution_has():
    measured = drift(pd.DataFrame({"x": SAMPLE}), pd.DataFrame({"x": SAMPLE + 1}))
    assert [alert["metric"] for alert in alerts(measured.loc["x"].to_dict())] == ["psi", "ks_statistic"]


def test_psi_is_the_textbooks():
    reference, recent = np.array([0.0] * 50 + [1.0] * 50), np.array([0.0] * 25 + [1.0] * 75)
    assert psi(reference, recent, bins=2) == pytest.approx(-0.25 * np.log(0.5) + 0.25 * np.log(1.5))


@pytest.fixture
def clean(prices):
    return prices.iloc[-252:].copy()


def quality(frame):
    published = datetime.combine(frame.index[-1].date(), datetime.min.time(), ZONE).replace(hour=20)
    return data_quality(frame, published)


def test_clean_prices_raise_no_alert(clean):
    measured = quality(clean)
    assert alerts(measured) == []
    assert measured["staleness_hours"] == 2


def test_missing_values_are_counted_in_percent(clean):
    clean.iloc[:26, 0] = np.nan
    measured = quality(clean)
    assert measured["missing_pct"] == pytest.approx(100 * 26 / clean.size)
    assert [alert["metric"] for alert in alerts(measured)] == ["missing_pct"]


def test_one_repeated_session_is_an_alert(clean):
    doubled = pd.concat([clean, clean.iloc[-1:]])
    assert "duplicate_pct" in [alert["metric"] for alert in alerts(quality(doubled))]


def test_a_price_a_hundred_times_too_high_is_two_outliers(clean):
    clean.iloc[100, 1] *= 100
    assert quality(clean)["outlier_pct"] == pytest.approx(100 * 2 / clean.size)
