"""MonitoringRun of a model: has its input drifted, and how good were the predictions it could not have known?"""

from typing import Literal

from prefect import flow
from runtide.flow import digest_of, report_run

from examples.quant.catalog import Catalog


@flow(name="monitor-model")
def monitor_model(
    run_id: str | None = None,
    mode: Literal["incremental", "overwrite", "preview"] = "incremental",
    monitoring_type: Literal["model_drift", "performance"] = "model_drift",
    window_sessions: int = 252,
    instance: str = "return-model",
    prices_instance: str = "prices",
    signal_instance: str = "momentum",
) -> None:
    """Drift: the features of the window against those of training. Performance: the walk-forward's newest two years."""
    from examples.quant.drift import THRESHOLDS, alerts, drift
    from examples.quant.features import forward_returns, raw_features, stacked
    from examples.quant.model import information_coefficients

    with report_run(run_id) as run:
        catalog = Catalog(run.tenant)
        run.progress(5, step="read")
        reference = catalog.frame(instance, "training", "reference").set_index(["date", "stock"])
        validation = catalog.frame(instance, "training", "validation_predictions").set_index(["date", "stock"])
        run.read("training")
        prices = catalog.frame(prices_instance, "refresh", "prices")
        run.read("prices")
        signal = catalog.frame(signal_instance, "refresh", "signal")
        run.read("momentum")
        run.progress(40, step="drift", detail=f"last {window_sessions} sessions")
        recent_prices = prices.iloc[-window_sessions - 300 :]
        none = forward_returns(recent_prices).fillna(0.0)
        recent = stacked(
            {name: frame.iloc[-window_sessions:] for name, frame in raw_features(recent_prices, signal).items()},
            none.iloc[-window_sessions:],
            every=1,
        )
        by_feature = drift(reference, recent.drop(columns="target"))
        run.progress(65, step="performance")
        judged = validation[
            validation.index.get_level_values(0)
            >= validation.index[-1][0].replace(year=validation.index[-1][0].year - 2)
        ]
        ics = information_coefficients(judged)
        metrics = {
            "psi": by_feature["psi"].max(),
            "ks_statistic": by_feature["ks_statistic"].max(),
            "drift_score": (by_feature["psi"] > THRESHOLDS["psi"]).mean(),
            "direction_accuracy": ((judged["prediction"] > 0) == (judged["target"] > 0)).mean(),
            "ic": ics.mean(),
            "ic_ir": ics.mean() / ics.std(),
            "hit_rate": (ics > 0).mean(),
        }
        metrics = {name: float(value) for name, value in metrics.items()}
        raised = alerts(metrics) if monitoring_type == "model_drift" else []
        run.progress(90, step="report")
        report = {
            "metrics": metrics,
            "thresholds": THRESHOLDS,
            "alerts": raised,
            "features": by_feature.to_dict("index"),
        }
        run.artifact("report", report | {"mode": mode})
        run.artifact("drift", by_feature)
        run.complete(
            metrics={"monitoring_type": monitoring_type, **metrics, "alerts": raised},
            last_data_date=prices.index[-1].date(),
            digest=digest_of(report),
            rows_processed=len(recent),
        )
