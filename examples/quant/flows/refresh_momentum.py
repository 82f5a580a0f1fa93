"""PipelineRun of a signal: momentum of twelve months less the last one."""

import time
from typing import Literal

from prefect import flow
from runtide.flow import digest_of, report_run

from examples.quant.catalog import Catalog


@flow(name="refresh-momentum")
def refresh_momentum(
    run_id: str | None = None,
    mode: Literal["incremental", "overwrite", "preview"] = "incremental",
    instance: str = "momentum",
    prices_instance: str = "prices",
) -> None:
    """Incremental appends the sessions that prices have and the signal has not; overwrite computes all anew."""
    from examples.quant.features import momentum
    from examples.quant.tables import merge

    began = time.perf_counter()
    with report_run(run_id) as run:
        catalog = Catalog(run.tenant)
        run.progress(5, step="read")
        prices = catalog.frame(prices_instance, "refresh", "prices")
        run.read("prices")
        run.progress(35, step="compute", detail=f"{len(prices)} sessions")
        computed = momentum(prices)
        run.progress(60, step="compare")
        known = catalog.latest(instance, "refresh") is not None
        previous = catalog.frame(instance, "refresh", "signal") if known else None
        merged = merge(previous, computed, mode)
        run.progress(80, step="write")
        signal = merged.frame
        artifact = run.artifact("signal", signal)
        run.progress(95, step="publish")
        digest, last = digest_of(signal), signal.index[-1].date()
        run.complete(
            metrics={
                "rows_added": merged.inserted,
                "rows_fetched": prices.size,
                "rows_inserted": merged.inserted,
                "rows_updated": merged.updated,
                "rows_deleted": merged.deleted,
                "rows_processed": computed.size,
                "last_date": last,
                "last_data_date": last,
                "bytes_processed": artifact.size_bytes,
                "duration_seconds": time.perf_counter() - began,
            },
            last_data_date=last,
            digest=digest,
            rows_processed=computed.size,
            empty=merged.inserted + merged.updated + merged.deleted == 0,
        )
        if mode != "preview":
            refs = {"signal": artifact.ref}
            catalog.publish(run, instance, "refresh", refs, digest=digest, last_data_date=last.isoformat())
