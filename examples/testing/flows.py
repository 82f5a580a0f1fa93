"""`sleeper` reports and ends as its parameters say, `retrying` is retried by Prefect, `silent` reports nothing."""

import time
from pathlib import Path
from typing import Any

from prefect import flow
from runtide.flow import report_run


@flow(name="sleeper")
def sleeper(
    run_id: str | None = None,
    mode: str = "incremental",
    tenant: str | None = None,
    seconds: float = 0.5,
    steps: int = 4,
    fail: bool = False,
    fail_attempts: int = 0,
    digest: str | None = None,
    last_data_date: str | None = None,
    metrics: dict[str, Any] | None = None,
    empty: bool = False,
    roles: list[str] | None = None,
    data_date: str | None = None,
    fail_on: list[str] | None = None,
    needs: str | None = None,
) -> None:
    """Sleeps in steps, reports each, then completes or raises: with `fail`, in the first `fail_attempts` attempts, and
    on the dates of `fail_on`, or while there is no file `needs`.

    Without digest every run is a change.
    """
    with report_run(run_id, tenant=tenant) as run:
        for role in roles or ():
            run.read(role)
        for step in range(steps):
            run.progress(100 * step / steps, step=f"step {step + 1}", detail=mode)
            time.sleep(seconds / steps)
        missing = needs is not None and not Path(needs).exists()
        if fail or missing or (run.attempt or 1) <= fail_attempts or data_date in (fail_on or ()):
            raise RuntimeError("told to fail")
        run.progress(100, step="done")
        run.complete(metrics=metrics or {}, digest=digest, last_data_date=last_data_date or data_date, empty=empty)


retrying = sleeper.with_options(name="retrying", retries=2, retry_delay_seconds=1)


@flow(name="silent")
def silent(seconds: float = 0.0, fail: bool = False) -> None:
    """A flow of somebody who does not know Runtide."""
    time.sleep(seconds)
    if fail:
        raise RuntimeError("told to fail")
