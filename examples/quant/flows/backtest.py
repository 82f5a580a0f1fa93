"""BacktestRun of momentum-60-40: 60 % in the strongest stocks, 40 % in a portfolio of least risk, month by month."""

from datetime import date
from typing import Literal

from prefect import flow
from runtide.flow import digest_of, report_run

from examples.quant.catalog import Catalog


@flow(name="backtest")
def backtest(
    run_id: str | None = None,
    mode: Literal["incremental", "overwrite", "preview"] = "incremental",
    start: date = date(2015, 1, 2),
    cost_bps: float = 10.0,
    momentum_share: float = 0.6,
    top: int = 5,
    refit_months: int = 1,
    prices_instance: str = "prices",
    signal_instance: str = "momentum",
    portfolio_instance: str = "model-portfolio",
) -> None:
    """The optimiser's limits are taken from its newest run, but fitted anew at each date: its weights know the future.

    The risk sleeve is fitted every `refit_months` months. It is always computed whole: the mode changes nothing.
    """
    import pandas as pd

    from examples.quant.performance import performance
    from examples.quant.portfolio import Specification, optimise
    from examples.quant.simulation import month_ends, simulate

    if not 0 <= momentum_share <= 1:
        raise ValueError(f"momentum_share is {momentum_share}, allowed is 0 to 1")
    if refit_months < 1:
        raise ValueError(f"refit_months is {refit_months}, allowed is 1 or more")
    with report_run(run_id) as run:
        catalog = Catalog(run.tenant)
        run.progress(2, step="read")
        prices = catalog.frame(prices_instance, "refresh", "prices")
        benchmark = catalog.frame(prices_instance, "refresh", "benchmark").iloc[:, 0].pct_change()
        run.read("prices")
        signal = catalog.frame(signal_instance, "refresh", "signal")
        run.read("momentum")
        published = catalog.document(portfolio_instance, "optimize", "specification")
        run.read("model-portfolio")
        spec = Specification("minimize_risk", int(published["lookback"]), float(published["max_weight"]))
        decisions = [
            position
            for position in month_ends(prices.index)
            if prices.index[position] >= pd.Timestamp(start) and position >= spec.lookback
        ]
        if not decisions:
            raise ValueError(
                f"no month to trade since {start}: prices reach from {prices.index[0]} to {prices.index[-1]}"
            )
        fitted_at = {position: decisions[k - k % refit_months] for k, position in enumerate(decisions)}
        least_risk: dict[int, pd.Series] = {}

        def decide(position: int) -> pd.Series:
            fitted = fitted_at[position]
            if fitted not in least_risk:
                least_risk[fitted] = optimise(prices.iloc[: fitted + 1], spec).weights
            strongest = signal.loc[prices.index[position]].nlargest(top).index
            return (least_risk[fitted] * (1 - momentum_share)).add(
                pd.Series(momentum_share / top, index=strongest), fill_value=0.0
            )

        def on_period(done: int, total: int) -> None:
            run.progress(10 + 75 * done / total, step="simulate", detail=f"month {done} of {total}")

        simulated = simulate(prices, decisions, decide, cost_bps=cost_bps, on_period=on_period)
        run.progress(88, step="measure")
        daily = simulated.daily_returns
        metrics = performance(daily, benchmark.loc[daily.index])
        run.progress(94, step="write")
        run.artifact("equity_curve", simulated.equity_curve.reset_index())
        run.artifact("daily_returns", daily.reset_index())
        run.artifact("weights_history", simulated.weights_history.reset_index())
        run.artifact("trades", simulated.trades)
        run.complete(
            metrics={
                **metrics,
                "num_trades": len(simulated.trades),
                "turnover": simulated.turnover,
                "costs": simulated.costs,
                "cost_bps": cost_bps,
                "start": daily.index[0].date(),
                "mode": mode,
            },
            last_data_date=prices.index[-1].date(),
            digest=digest_of(simulated.equity_curve),
            rows_processed=len(daily),
        )
