"""PipelineRun: fetch the market's closes and publish them as the dataset `prices`."""

import time
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from prefect import flow
from pydantic import Field
from runtide.flow import digest_of, report_run

from examples.quant.catalog import Catalog


@flow(name="refresh-prices")
def refresh_prices(
    run_id: str | None = None,
    mode: Literal["incremental", "overwrite", "preview"] = "incremental",
    start: date | None = None,
    hold_back_sessions: Annotated[int, Field(ge=0, le=2520)] = 0,
    instance: str = "prices",
) -> None:
    """Incremental appends the sessions that are missing; overwrite takes history anew.

    `start` leaves earlier sessions out; `hold_back_sessions` pretends that the newest are not published yet.
    """
    from examples.quant.data import load_market
    from examples.quant.tables import merge

    began = time.perf_counter()
    with report_run(run_id) as run:
        catalog = Catalog(run.tenant)
        run.progress(5, step="fetch", detail="daily closes from skfolio")
        market = load_market(datetime.now(UTC))
        fetched = market.prices.iloc[: len(market.prices) - hold_back_sessions].loc[
            str(start or market.prices.index[0]) :
        ]
        run.progress(45, step="compare")
        known = catalog.latest(instance, "refresh") is not None
        previous = catalog.frame(instance, "refresh", "prices") if known else None
        merged = merge(previous, fetched, mode)
        prices = merged.frame
        run.progress(65, step="check")
        if prices.isna().to_numpy().any() or not prices.index.is_monotonic_increasing or not prices.index.is_unique:
            raise ValueError("the fetched prices have gaps, or their sessions are not in order")
        run.progress(75, step="write", detail=f"{len(prices)} sessions of {prices.shape[1]} stocks")
        sessions = prices.index
        artifacts = {
            "prices": run.artifact("prices", prices),
            "benchmark": run.artifact("benchmark", market.benchmark.reindex(sessions)),
            "factors": run.artifact("factors", market.factors.reindex(sessions)),
        }
        run.progress(95, step="publish")
        digest, last = digest_of(prices), sessions[-1].date()
        run.complete(
            metrics={
                "rows_added": merged.inserted,
                "rows_fetched": fetched.size,
                "rows_inserted": merged.inserted,
                "rows_updated": merged.updated,
                "rows_deleted": merged.deleted,
                "rows_processed": prices.size,
                "last_date": last,
                "last_data_date": last,
                "bytes_processed": sum(artifact.size_bytes for artifact in artifacts.values()),
                "duration_seconds": time.perf_counter() - began,
            },
            last_data_date=last,
            digest=digest,
            rows_processed=prices.size,
            empty=merged.inserted + merged.updated + merged.deleted == 0,
        )
        if mode != "preview":
            refs = {name: artifact.ref for name, artifact in artifacts.items()}
            catalog.publish(run, instance, "refresh", refs, digest=digest, last_data_date=last.isoformat())
