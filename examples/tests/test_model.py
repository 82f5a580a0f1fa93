"""No look-ahead: what a model is judged by, it has not seen."""

import numpy as np
import pandas as pd
import pytest

from examples.quant import features, model
from examples.quant.features import FEATURES, HORIZON


@pytest.fixture(scope="module")
def rows(prices):
    raw = features.raw_features(prices, features.momentum(prices))
    return features.stacked(features.ranked(raw), features.forward_returns(prices), every=1)


def test_no_feature_changes_when_the_future_does(prices):
    cut = 700
    other = prices.copy()
    other.iloc[cut:] *= np.linspace(1, 3, len(prices) - cut)[:, None]
    before = features.raw_features(prices, features.momentum(prices))
    after = features.raw_features(other, features.momentum(other))
    for name in FEATURES:
        pd.testing.assert_frame_equal(before[name].iloc[:cut], after[name].iloc[:cut])


def test_momentum_is_the_return_of_twelve_months_less_the_last(prices):
    raw = np.log(prices.iloc[-1 - 21] / prices.iloc[-1 - 252])
    expected = (raw - raw.mean()) / raw.std()
    pd.testing.assert_series_equal(features.momentum(prices).iloc[-1], expected, check_names=False)


def test_targets_are_relative_and_unknown_at_the_end(prices):
    target = features.forward_returns(prices)
    assert target.iloc[-HORIZON:].isna().to_numpy().all()
    assert target.iloc[:-HORIZON].mean(axis=1).abs().max() < 1e-12


def test_each_year_is_predicted_by_the_past_less_the_horizon(prices, rows, monkeypatch):
    seen = []
    original = model.fit

    def recorded(train, alpha):
        seen.append(train.index.get_level_values(0).max())
        return original(train, alpha)

    monkeypatch.setattr(model, "fit", recorded)
    predicted = model.walk_forward(rows, prices.index, alpha=1.0, years=2)
    first_days = predicted.groupby(predicted.index.get_level_values(0).year).apply(lambda part: part.index[0][0])
    for trained_until, first_test in zip(seen, first_days, strict=True):
        assert prices.index.get_loc(first_test) - prices.index.get_loc(trained_until) > HORIZON


def test_noise_cannot_be_predicted(prices, rows):
    unseen = model.regression_metrics(model.walk_forward(rows, prices.index, alpha=100.0, years=2))
    assert unseen["r2"] < 0.05


def test_a_target_that_follows_from_a_feature_is_found(prices, rows):
    planted = rows.assign(target=0.1 * rows["trend_63"])
    unseen = model.regression_metrics(model.walk_forward(planted, prices.index, alpha=1e-6, years=1))
    assert unseen["r2"] == pytest.approx(1, abs=1e-6)
    assert unseen["ic"] == pytest.approx(1)


def test_a_model_survives_its_artifact(rows):
    fitted = model.fit(rows, 1.0, residual_std=0.05)
    assert model.Model.from_json(fitted.to_json()) == fitted


def test_the_information_coefficient_is_spearmans(rows):
    predicted = rows.assign(prediction=rows["reversal_5"])[["prediction", "target"]]
    day = predicted.index[0][0]
    expected = predicted.loc[day, "prediction"].corr(predicted.loc[day, "target"], method="spearman")
    assert model.information_coefficients(predicted).loc[day] == pytest.approx(expected)


def test_too_little_history_is_refused(prices, rows):
    with pytest.raises(ValueError, match="too few"):
        model.walk_forward(rows.iloc[:100], prices.index, alpha=1.0, years=1)
