"""Money is neither made nor lost by arithmetic."""

import numpy as np
import pandas as pd
import pytest

from examples.quant.performance import performance
from examples.quant.portfolio import Specification, factor_exposures, optimise
from examples.quant.simulation import month_ends, simulate

SESSIONS = pd.bdate_range("2024-01-01", periods=6, name="date")


def one_stock(*closes):
    return pd.DataFrame({"A": closes}, index=SESSIONS[: len(closes)], dtype=float)


def all_in(_):
    return pd.Series({"A": 1.0})


def test_a_decision_earns_from_the_session_after_the_one_it_was_traded_at():
    simulated = simulate(one_stock(100, 200, 300, 330), [0], all_in, cost_bps=0)
    assert simulated.daily_returns.to_dict() == {
        SESSIONS[2]: pytest.approx(0.5),
        SESSIONS[3]: pytest.approx(0.1),
    }


def test_costs_are_paid_once_per_trade_and_lower_the_curve():
    simulated = simulate(one_stock(100, 100, 100, 100), [0], all_in, cost_bps=100)
    assert simulated.daily_returns.tolist() == [pytest.approx(-0.01), 0]
    assert simulated.equity_curve.iloc[-1] == pytest.approx(990_000)
    assert simulated.costs == pytest.approx(0.01)


def test_holding_on_costs_nothing_and_trades_nothing():
    simulated = simulate(one_stock(100, 110, 121, 130, 140, 150), [0, 2], all_in, cost_bps=100)
    assert len(simulated.trades) == 1
    assert len(simulated.weights_history) == 2


def test_weights_drift_with_prices_until_the_next_decision():
    prices = pd.DataFrame({"A": [1.0, 1, 2, 2, 2, 2], "B": [1.0, 1, 1, 1, 1, 1]}, index=SESSIONS)
    simulated = simulate(prices, [0, 3], lambda _: pd.Series({"A": 0.5, "B": 0.5}), cost_bps=0)
    second = simulated.trades[simulated.trades["date"] == SESSIONS[4]].set_index("stock")["weight_change"]
    assert second["A"] == pytest.approx(0.5 - 2 / 3)
    assert second["B"] == pytest.approx(0.5 - 1 / 3)


def test_no_decision_depends_on_what_comes_after_it(prices):
    def strongest(position):
        return pd.Series(1.0, index=[(prices.iloc[position] / prices.iloc[position - 100]).idxmax()])

    decisions = [position for position in month_ends(prices.index) if position > 200]
    cut = decisions[10]
    whole = simulate(prices, decisions, strongest, cost_bps=10)
    known = simulate(prices.iloc[: cut + 1], decisions[:10], strongest, cost_bps=10)
    shared = known.daily_returns.index
    pd.testing.assert_series_equal(whole.daily_returns.loc[shared], known.daily_returns)


def test_month_ends_are_the_last_sessions_of_finished_months():
    sessions = pd.bdate_range("2024-01-15", "2024-03-15")
    assert [sessions[p].date().isoformat() for p in month_ends(sessions)] == ["2024-01-31", "2024-02-29"]


def test_the_benchmark_against_itself_has_beta_one_and_no_alpha(prices):
    daily = prices["A"].pct_change().iloc[1:]
    measured = performance(daily, daily)
    assert measured["beta"] == pytest.approx(1)
    assert measured["alpha"] == pytest.approx(0, abs=1e-12)
    assert measured["total_return"] == pytest.approx(prices["A"].iloc[-1] / prices["A"].iloc[0] - 1)


def test_a_known_drawdown_is_found():
    daily = pd.Series([0.1, -0.5, 0.2])
    measured = performance(daily, pd.Series([0.01, -0.01, 0.02]))
    assert measured["max_drawdown"] == pytest.approx(-0.5)
    assert measured["win_rate"] == pytest.approx(2 / 3)
    assert measured["profit_factor"] == pytest.approx(0.6)


def test_a_loss_on_the_first_day_is_a_drawdown():
    assert performance(pd.Series([-0.2, 0.1]), pd.Series([0.01, 0.02]))["max_drawdown"] == pytest.approx(-0.2)


@pytest.mark.parametrize("objective", ["maximize_ratio", "minimize_risk"])
def test_a_portfolio_is_long_only_fully_invested_and_within_its_limit(prices, objective):
    optimised = optimise(prices, Specification(objective, lookback=252, max_weight=0.3))
    assert optimised.weights.min() >= 0
    assert optimised.weights.max() <= 0.3 + 1e-4
    assert optimised.weights.sum() == pytest.approx(1)
    assert optimised.diagnostics["solver_status"] == "optimal"
    assert optimised.diagnostics["effective_n"] == pytest.approx(1 / (optimised.weights**2).sum())


def test_a_good_prediction_is_followed(prices):
    spec = Specification("maximize_ratio", lookback=252, max_weight=0.5)
    liked = optimise(prices, spec, pd.Series({"C": 0.05})).weights["C"]
    disliked = optimise(prices, spec, pd.Series({"C": -0.05})).weights["C"]
    assert liked > disliked


def test_a_portfolio_of_one_factor_is_exposed_to_it_alone(prices):
    weights = pd.Series({"A": 1.0}).reindex(prices.columns).fillna(0)
    factors = prices[["A", "B"]].rename(columns={"A": "ONE", "B": "TWO"})
    exposures = factor_exposures(weights, prices, factors, lookback=252)
    assert exposures == {"ONE": pytest.approx(1), "TWO": pytest.approx(0, abs=1e-9)}
    assert factor_exposures(weights, prices, factors * np.nan, lookback=252) == {}
