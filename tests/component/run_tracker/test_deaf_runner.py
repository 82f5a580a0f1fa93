"""Prefect's server is away for a moment while flows run: their runner hears a cancel all the same.

Real runners, in Prefect's own environment, behind a connection that is cut. The one that serves as Prefect's library
does by itself is the control: it says that it will hear no more, and does not.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from deploy.native import bootstrap
from tests.component.run_tracker.server import Prefect
from tests.conftest import ROOT
from tests.support.eventually import eventually
from tests.support.harness import World
from tests.support.wire import Wire

SERVE = """
import asyncio, os, sys, time
from prefect import flow
from prefect.runner import Runner
from examples.quant.serve import hear_cancels_after_an_outage

@flow(name=os.environ["FLOW"])
def for_long():
    time.sleep(600)

async def main(kind):
    if kind == "hears":
        hear_cancels_after_an_outage()
    runner = Runner(name=kind, pause_on_shutdown=False)
    await runner.aadd_flow(for_long, name=kind)
    await runner.start()

if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
"""
Serve = Callable[[str], Awaitable[str]]


@pytest.fixture
async def wire(world: World) -> AsyncIterator[Wire]:
    opened = await Wire(world.env["RUNTIDE_PREFECT_API_URL"]).open()
    await opened.mend()
    yield opened
    await opened.close()


@pytest.fixture
async def serve(wire: Wire, prefect: Prefect, tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts a runner of a kind (`hears` or `deaf`), which logs to a file of that name; answers a run that it runs."""
    runners: list[subprocess.Popen[bytes]] = []
    python = await asyncio.to_thread(bootstrap.prefect)
    script = tmp_path / "serve.py"
    script.write_text(SERVE)

    async def start(kind: str) -> str:
        env = {
            **os.environ, "PREFECT_API_URL": wire.url, "PREFECT_HOME": str(tmp_path / f"home-{kind}"),
            "PYTHONPATH": str(ROOT), "PREFECT_RUNNER_POLL_FREQUENCY": "1", "FLOW": prefect.flow,
        }  # fmt: skip
        with (tmp_path / kind).open("wb") as log:
            command = [str(python), str(script), kind]
            runners.append(
                subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            )
        served = await eventually(lambda: prefect.deployment_of(kind), within_seconds=120, every_seconds=0.5)
        flow_run_id = await prefect.create(deployment_id=served)

        async def runs() -> bool:
            return await prefect.state_of(flow_run_id) == "RUNNING"

        await eventually(runs, within_seconds=120, every_seconds=0.5, what=f"{kind} runs a flow")
        return flow_run_id

    yield start
    for runner in runners:
        os.killpg(runner.pid, signal.SIGKILL)
        runner.wait()


@pytest.mark.timeout(600)
async def test_a_runner_hears_a_cancel_after_its_server_was_away_and_prefects_own_does_not(
    wire: Wire, prefect: Prefect, serve: Serve, tmp_path: Path
) -> None:
    heard, unheard = await serve("hears"), await serve("deaf")
    await wire.cut()
    for kind in ("hears", "deaf"):
        await eventually(lambda log=tmp_path / kind: said(log, "Switching to polling mode"), within_seconds=120)
    await wire.mend()
    await eventually(lambda: said(tmp_path / "deaf", "flow run cancellation will fail"), within_seconds=120)

    for flow_run_id in (heard, unheard):
        await prefect.move(flow_run_id, "CANCELLING")

    async def ended() -> bool:
        return await prefect.state_of(heard) == "CANCELLED"

    await eventually(ended, within_seconds=120, every_seconds=0.5, what="the runner ends its flow")
    assert await prefect.state_of(unheard) == "CANCELLING"


def said(log: Path, words: str) -> bool:
    """About cancels, for there is an observer of suspensions too."""
    lines = log.read_text(errors="replace").splitlines()
    return any(words in line and "Cancel" in line for line in lines)
