"""TrainingRun: fit the model, and judge it by years that it has not seen."""

from typing import Literal

from prefect import flow
from runtide.flow import digest_of, report_run

from examples.quant.catalog import Catalog


@flow(name="train-model")
def train_model(
    run_id: str | None = None,
    mode: Literal["incremental", "overwrite", "preview"] = "incremental",
    alpha: float = 100.0,
    validation_years: int = 8,
    instance: str = "return-model",
    prices_instance: str = "prices",
    signal_instance: str = "momentum",
) -> None:
    """Always fits on all history; a preview publishes no model."""
    from examples.quant.features import FEATURES, forward_returns, ranked, raw_features, stacked
    from examples.quant.model import direction_metrics, fit, regression_metrics, walk_forward

    with report_run(run_id) as run:
        catalog = Catalog(run.tenant)
        run.progress(5, step="read")
        prices = catalog.frame(prices_instance, "refresh", "prices")
        run.read("prices")
        signal = catalog.frame(signal_instance, "refresh", "signal")
        run.read("momentum")
        run.progress(20, step="features")
        raw = raw_features(prices, signal)
        rows = stacked(ranked(raw), forward_returns(prices))
        run.progress(40, step="validate", detail=f"walk forward over {validation_years} years")
        validation = walk_forward(rows, prices.index, alpha, validation_years)
        unseen = regression_metrics(validation)
        run.metrics({f"val_{name}": value for name, value in unseen.items()})
        run.progress(75, step="fit", detail=f"{len(rows)} rows")
        model = fit(rows, alpha, residual_std=unseen["rmse"])
        seen = regression_metrics(rows.assign(prediction=model.predict(rows)))
        run.progress(90, step="write")
        document = model.to_json() | {"alpha": alpha, "trained_until": str(rows.index[-1][0].date())}
        digest = digest_of(document)
        version = f"ridge-{digest.removeprefix('sha256:')[:12]}"
        sizes = [abs(c) for c in model.coefficients]
        importance = {name: size / sum(sizes) for name, size in zip(FEATURES, sizes, strict=True)}
        reference = stacked(raw, forward_returns(prices)).drop(columns="target")
        refs = {
            "model": run.artifact("model", document).ref,
            "validation_predictions": run.artifact("validation_predictions", validation.reset_index()).ref,
            "reference": run.artifact("reference", reference.reset_index()).ref,
        }
        last = prices.index[-1].date()
        run.complete(
            metrics={
                **{f"train_{name}": value for name, value in seen.items()},
                **{f"val_{name}": value for name, value in unseen.items()},
                **direction_metrics(validation),
                "feature_importance": importance,
                "num_features": len(FEATURES),
                "training_samples": len(rows),
                "validation_samples": len(validation),
                "artifact_version": version,
            },
            last_data_date=last,
            digest=digest,
            rows_processed=len(rows),
        )
        if mode != "preview":
            catalog.publish(run, instance, "training", refs, digest=digest, last_data_date=last.isoformat())
