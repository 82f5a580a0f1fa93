"""ExperimentRun: what would another lookback do to the signal?"""

from typing import Literal

from prefect import flow
from runtide.flow import digest_of, report_run

from examples.quant.catalog import Catalog


@flow(name="preview-momentum")
def preview_momentum(
    run_id: str | None = None,
    mode: Literal["incremental", "overwrite", "preview"] = "preview",
    lookback: int = 126,
    skip: int = 5,
    prices_instance: str = "prices",
    signal_instance: str = "momentum",
) -> None:
    """Compares a variant of momentum with the published signal. It publishes nothing, whatever the mode."""
    import pandas as pd

    from examples.quant.features import forward_returns, momentum, stacked
    from examples.quant.model import information_coefficients

    if not 0 <= skip < lookback:
        raise ValueError(f"skip is {skip} and lookback {lookback}; allowed is 0 <= skip < lookback")
    with report_run(run_id) as run:
        catalog = Catalog(run.tenant)
        run.progress(5, step="read")
        prices = catalog.frame(prices_instance, "refresh", "prices")
        run.read("prices")
        signal = catalog.frame(signal_instance, "refresh", "signal")
        run.read("momentum")
        run.progress(35, step="compute", detail=f"lookback {lookback}, skip {skip}")
        raw = prices.shift(skip) / prices.shift(lookback) - 1
        variant = momentum(prices, lookback, skip)
        run.progress(60, step="compare")
        target = forward_returns(prices)
        ics = {
            name: float(information_coefficients(stacked({"prediction": frame.reindex(prices.index)}, target)).mean())
            for name, frame in (("variant", variant), ("published", signal))
        }
        values = raw.iloc[lookback:].stack()
        run.progress(85, step="write")
        run.artifact("preview", variant.tail(21))
        run.artifact("statistics", pd.DataFrame(raw.iloc[lookback:].describe()))
        run.complete(
            metrics={
                "rows_computed": raw.size,
                "nan_pct": float(raw.isna().to_numpy().mean() * 100),
                "mean": values.mean(),
                "std": values.std(),
                "min": values.min(),
                "max": values.max(),
                "skewness": values.skew(),
                "kurtosis": values.kurtosis(),
                "ic": ics["variant"],
                "published_ic": ics["published"],
                "correlation_with_published": float(variant.stack().corr(signal.stack())),
                "mode": mode,
            },
            last_data_date=prices.index[-1].date(),
            digest=digest_of(variant),
            rows_processed=raw.size,
        )
