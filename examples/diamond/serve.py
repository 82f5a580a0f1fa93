"""Serve the five flows as `<flow>/<story>`: `python -m examples.diamond.serve <story>`, in Prefect's environment."""

from __future__ import annotations

import asyncio
import sys

from examples.quant.serve import HEARTBEAT_SECONDS, hear_cancels_after_an_outage, start_by_fork

SERVING = "serving"
WARM = (
    "prefect.flow_engine",
    "prefect.runtime.flow_run",
    "aiokafka",
    "minio",
    "runtide.flow",
    "examples.diamond.flows",
)


async def serve(story: str) -> None:
    from prefect.runner import Runner

    from examples.diamond.flows import FLOWS

    start_by_fork(WARM)
    hear_cancels_after_an_outage()
    runner = Runner(name=story, limit=4, pause_on_shutdown=False, heartbeat_seconds=HEARTBEAT_SECONDS)
    for flow in FLOWS:
        await runner.aadd_flow(flow, name=story, parameters={"story": story})
    print(SERVING, flush=True)
    await runner.start()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
