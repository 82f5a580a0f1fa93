"""MonitoringRun of a dataset: is the data complete, plausible and current?"""

from datetime import UTC, datetime
from typing import Literal

from prefect import flow
from runtide.flow import digest_of, report_run

from examples.quant.catalog import Catalog


@flow(name="monitor-prices")
def monitor_prices(
    run_id: str | None = None,
    mode: Literal["incremental", "overwrite", "preview"] = "incremental",
    monitoring_type: Literal["data_quality"] = "data_quality",
    window_sessions: int = 252,
    instance: str = "prices",
) -> None:
    """Judges the last `window_sessions` sessions; incremental and overwrite are the same here."""
    from examples.quant.drift import THRESHOLDS, alerts, data_quality

    with report_run(run_id) as run:
        catalog = Catalog(run.tenant)
        run.progress(10, step="read")
        prices = catalog.frame(instance, "refresh", "prices")
        run.progress(50, step="measure", detail=f"{window_sessions} sessions")
        window = prices.iloc[-window_sessions - 1 :]
        quality = data_quality(window, datetime.now(UTC))
        raised = alerts(quality)
        run.progress(80, step="report")
        report = {"metrics": quality, "thresholds": THRESHOLDS, "alerts": raised, "mode": mode}
        run.artifact("report", report)
        run.complete(
            metrics={"monitoring_type": monitoring_type, **quality, "alerts": raised},
            last_data_date=prices.index[-1].date(),
            digest=digest_of({name: value for name, value in quality.items() if name != "staleness_hours"}),
            rows_processed=window.size,
        )
