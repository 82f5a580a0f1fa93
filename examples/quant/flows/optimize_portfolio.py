"""PortfolioOptimizationRun: today's weights from shrunk covariances and the model's predictions."""

from typing import Literal

from prefect import flow
from runtide.flow import digest_of, report_run

from examples.quant.catalog import Catalog


@flow(name="optimize-portfolio")
def optimize_portfolio(
    run_id: str | None = None,
    mode: Literal["incremental", "overwrite", "preview"] = "incremental",
    objective: Literal["maximize_ratio", "minimize_risk"] = "maximize_ratio",
    lookback: int = 504,
    max_weight: float = 0.15,
    instance: str = "model-portfolio",
    prices_instance: str = "prices",
    model_instance: str = "return-model",
) -> None:
    """A preview publishes no weights; incremental and overwrite are the same here."""
    from examples.quant.portfolio import Specification, factor_exposures, optimise

    with report_run(run_id) as run:
        catalog = Catalog(run.tenant)
        run.progress(5, step="read")
        prices = catalog.frame(prices_instance, "refresh", "prices")
        factors = catalog.frame(prices_instance, "refresh", "factors")
        run.read("prices")
        predictions = catalog.frame(model_instance, "inference", "predictions")
        run.read("return-model")
        run.progress(35, step="optimise", detail=objective)
        spec = Specification(objective, lookback, max_weight)
        newest = predictions[predictions["date"] == predictions["date"].max()].set_index("stock")["prediction"]
        optimised = optimise(prices, spec, newest)
        run.progress(75, step="diagnose")
        exposures = factor_exposures(optimised.weights, prices, factors, lookback)
        run.progress(90, step="write")
        weights = optimised.weights.rename("weight").rename_axis("stock")
        refs = {
            "weights": run.artifact("weights", weights.reset_index()).ref,
            "specification": run.artifact("specification", spec.to_json()).ref,
            "diagnostics": run.artifact("diagnostics", {**optimised.diagnostics, "factor_exposures": exposures}).ref,
        }
        digest, last = digest_of(weights.reset_index()), prices.index[-1].date()
        run.complete(
            metrics={
                **optimised.diagnostics,
                "weights": {stock: weight for stock, weight in weights.items() if weight > 0},
                "factor_exposures": exposures,
            },
            last_data_date=last,
            digest=digest,
            rows_processed=lookback * prices.shape[1],
        )
        if mode != "preview":
            catalog.publish(run, instance, "optimize", refs, digest=digest, last_data_date=last.isoformat())
