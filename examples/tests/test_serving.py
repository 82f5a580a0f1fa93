"""A runner hears a cancel also when its server was away before."""

import asyncio
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
from prefect._internal.observers import FlowRunCancellingObserver

from examples.quant.serve import hear_cancels_after_an_outage

CANCELLED = uuid4()


class AwayForAWhile:
    """A server that refuses the first questions and then names a run that is to be cancelled."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    async def read_flow_runs(self, **_: object) -> list[SimpleNamespace]:
        self.refusals -= 1
        if self.refusals >= 0:
            raise httpx.ConnectError("connection refused")
        return [SimpleNamespace(id=CANCELLED)]


async def cancels_heard(refusals: int) -> list[object]:
    """What an observer hears, once it has heard something, or has given up."""
    heard: list[object] = []
    ended = asyncio.Event()

    def hear(flow_run_id: object) -> None:
        heard.append(flow_run_id)
        ended.set()

    observer = FlowRunCancellingObserver(hear, polling_interval=0.01, on_failure=lambda _: ended.set())
    observer._client = AwayForAWhile(refusals)  # type: ignore[assignment]
    observer.add_in_flight_flow_run_id(CANCELLED)
    lost = asyncio.get_running_loop().create_future()
    lost.set_exception(ConnectionError("the event stream ended"))
    observer._start_polling_task(lost)  # type: ignore[arg-type]
    await asyncio.wait_for(ended.wait(), 30)
    observer._is_shutting_down = True
    assert observer._polling_task is not None
    observer._polling_task.cancel()
    await asyncio.gather(observer._polling_task, return_exceptions=True)
    return heard


def test_a_cancel_is_heard_after_a_long_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        FlowRunCancellingObserver, "_handle_polling_task_done", FlowRunCancellingObserver._handle_polling_task_done
    )
    hear_cancels_after_an_outage()

    assert CANCELLED in asyncio.run(cancels_heard(refusals=12))


def test_the_control_prefects_own_observer_gives_up() -> None:
    assert asyncio.run(cancels_heard(refusals=12)) == []
