"""Serve every example flow as `<flow>/prod` in one process: `python -m examples.quant.serve`.

Prefect starts each flow run in a process of its own, which by default imports Prefect, pandas and pyarrow anew:
five seconds before the flow's first line. Here a fork server imports them once, beforehand, and each flow run is a fork
of it: it starts in a tenth of a second and shares its memory. Prefect's runner has no setting for that, so
`start_by_fork` replaces the one name by which its engine looks up how to start a process; if a later Prefect has no
such name, flow runs start as Prefect starts them. In the same way `hear_cancels_after_an_outage` replaces what its
runner does when it gives up listening for cancels.

Settings: QUANT_MAX_FLOW_RUNS (4), PREFECT_RUNNER_POLL_FREQUENCY (here 1 s unless set).
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Sequence
from types import SimpleNamespace

# Before NumPy is imported anywhere: flow runs are parallel by themselves, on few cores.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
os.environ.setdefault("PREFECT_RUNNER_POLL_FREQUENCY", "1")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "runtide.flow")

DEPLOYMENT = "prod"
HEARTBEAT_SECONDS = 30  # the shortest that Prefect allows: three without one, and a run is shown as unresponsive
# scikit-learn, SciPy, skfolio and the calendars are not among them: 100 MiB and a second that few flows need.
WARM = (
    "prefect.flow_engine",
    "prefect.runtime.flow_run",
    "pandas",
    "pyarrow.parquet",
    "aiokafka",
    "minio",
    "runtide.flow",
    "examples.quant.deployments",
    "examples.quant.data",
    "examples.quant.model",
    "examples.quant.portfolio",
    "examples.quant.simulation",
)


def start_by_fork(warm: Sequence[str] = WARM) -> None:
    """Flow runs of this process are from now on forks of one that has imported `warm`."""
    if sys.platform == "win32":
        return
    import prefect.flow_engine

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(warm))
    from multiprocessing import forkserver

    forkserver.ensure_running()
    if getattr(prefect.flow_engine, "multiprocessing", None) is multiprocessing:
        lookup = SimpleNamespace(get_context=lambda _method=None: context, context=multiprocessing.context)
        prefect.flow_engine.multiprocessing = lookup  # type: ignore[assignment]


def hear_cancels_after_an_outage() -> None:
    """Runners of this process hear of cancels also after their server was away, also of those asked for meanwhile.

    When the event stream is lost Prefect's observer asks by REST instead, and gives up for good at the first failure:
    in 3.8 that is the first question, for the server refuses it (`limit` and `sort` are null). Here it asks what is
    understood, and as long as the runner lives.
    """
    from prefect._internal.observers import FlowRunCancellingObserver as Observer
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    async def look(observer: Observer) -> None:
        waiting = observer._in_flight_flow_run_ids - observer._cancelling_flow_run_ids
        if not waiting or observer._client is None:
            return
        asked_to_end = filters.FlowRunFilter(
            id=filters.FlowRunFilterId(any_=list(waiting)),
            state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.CANCELLING])),
        )
        found = await observer._client.read_flow_runs(
            flow_run_filter=asked_to_end, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200
        )
        for flow_run in found:
            observer._cancelling_flow_run_ids.add(flow_run.id)
            observer.on_cancelling(flow_run.id)

    def gave_up(observer: Observer, polling: asyncio.Task[None]) -> None:
        if not polling.cancelled() and polling.exception() is not None and not observer._is_shutting_down:
            asyncio.get_running_loop().call_later(observer.polling_interval, observer._start_polling_task, polling)

    if hasattr(Observer, "_check_for_cancelled_flow_runs") and hasattr(Observer, "_handle_polling_task_done"):
        Observer._check_for_cancelled_flow_runs = look  # type: ignore[method-assign]
        Observer._handle_polling_task_done = gave_up  # type: ignore[method-assign]


async def serve() -> None:
    from prefect.runner import Runner

    from examples.quant.deployments import FLOWS

    start_by_fork()
    hear_cancels_after_an_outage()
    runner = Runner(
        name="quant",
        limit=int(os.environ.get("QUANT_MAX_FLOW_RUNS", "4")),
        pause_on_shutdown=False,
        heartbeat_seconds=HEARTBEAT_SECONDS,
    )
    for flow in FLOWS:
        await runner.aadd_flow(flow, name=DEPLOYMENT)
    print(f"serving {', '.join(f'{flow.name}/{DEPLOYMENT}' for flow in FLOWS)}", flush=True)
    await runner.start()


if __name__ == "__main__":
    asyncio.run(serve())
