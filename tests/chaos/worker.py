"""A worker of Prefect without flows: it moves the real flow runs of one deployment through their states by REST."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
from aiokafka.errors import KafkaError

from tests.support.kafka import Kafka

AT_ONCE = 6
OPEN = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
_DOWN = (httpx.HTTPError, KafkaError, TimeoutError, KeyError, ValueError)  # of servers that come and go


class Worker:
    """What it does with a flow run follows from the seed and the run alone, however often it must begin again."""

    def __init__(self, api_url: str, kafka: Kafka, tenant: str, seed: int) -> None:
        self.http = httpx.AsyncClient(base_url=api_url, timeout=20)
        self.kafka, self.tenant, self._seed = kafka, tenant, seed
        self.flow = f"chaos-{uuid.uuid4().hex[:8]}"
        self.deployment_id, self.deleted = "", set[str]()
        self.reports = 0

    @property
    def deployment(self) -> str:
        return f"{self.flow}/d"

    async def open(self) -> Worker:
        flow = (await self.http.post("/flows/", json={"name": self.flow})).raise_for_status().json()
        body = {"name": "d", "flow_id": flow["id"]}
        self.deployment_id = (await self.http.post("/deployments/", json=body)).raise_for_status().json()["id"]
        return self

    async def close(self) -> None:
        await self.http.aclose()

    async def run(self) -> None:
        """For as long as it is let."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(flow_run: dict[str, Any]) -> None:
            async with room:
                with contextlib.suppress(*_DOWN):
                    await self._step(flow_run)

        while True:
            with contextlib.suppress(*_DOWN):
                await asyncio.gather(*(one(flow_run) for flow_run in await self.flow_runs(OPEN)))
            await asyncio.sleep(0.3)

    async def flow_runs(self, types: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """Of our deployment, all or those in some states."""
        found: list[dict[str, Any]] = []
        while True:
            wanted: dict[str, Any] = {"deployment_id": {"any_": [self.deployment_id]}}
            if types:
                wanted["state"] = {"type": {"any_": list(types)}}
            body = {"flow_runs": wanted, "limit": 200, "offset": len(found), "sort": "ID_DESC"}
            page = (await self.http.post("/flow_runs/filter", json=body)).raise_for_status().json()
            found += page
            if len(page) < 200:
                return found

    async def delete_one(self) -> str | None:
        """Take an open flow run away, as somebody who tidies up does; its id, if there was one."""
        for flow_run in await self.flow_runs(("SCHEDULED", "PENDING", "RUNNING")):
            if (await self.http.delete(f"/flow_runs/{flow_run['id']}")).is_success:
                self.deleted.add(flow_run["id"])
                return str(flow_run["id"])
        return None

    async def emit(self, count: int) -> None:
        """Events of flow runs that nobody knows, as a busy platform beside ours makes them."""
        events = [_event(uuid.uuid4()) for _ in range(count)]
        (await self.http.post("/events", json=events)).raise_for_status()

    async def _step(self, flow_run: dict[str, Any]) -> None:
        dice = random.Random(f"{self._seed}/{flow_run['id']}")
        match flow_run["state_type"]:
            case "SCHEDULED":
                await self._move(flow_run, "PENDING")
                await self._move(flow_run, "RUNNING")
            case "PENDING":
                await self._move(flow_run, "RUNNING")
            case "CANCELLING":
                await self._move(flow_run, "CANCELLED")
            case "RUNNING":
                fails = dice.random() < 0.1
                if not fails:
                    await self._report(flow_run, dice)
                await self._move(flow_run, "FAILED" if fails else "COMPLETED")

    async def _move(self, flow_run: dict[str, Any], state_type: str) -> None:
        body = {"state": {"type": state_type, "name": state_type.title()}}
        (await self.http.post(f"/flow_runs/{flow_run['id']}/set_state", json=body)).raise_for_status()

    async def _report(self, flow_run: dict[str, Any], dice: random.Random) -> None:
        """Some progress and the sealing last word, sometimes twice; a few flows never say it."""
        run_id = next((tag.removeprefix("run:") for tag in flow_run["tags"] if tag.startswith("run:")), None)
        if run_id is None or dice.random() < 0.05:
            return
        said = {"tenant": self.tenant, "run_id": run_id, "attempt": 1}
        steps = [said | {"type": "run.progress_reported", "n": n, "progress_pct": 10.0 * n} for n in range(1, 6)]
        last = said | {"type": "run.output_reported", "n": 6, "digest": str(flow_run["id"])}
        for report in [*steps, last, *([last] if dice.random() < 0.3 else [])]:
            await asyncio.wait_for(self.kafka.send("runs.reports.v1", report, key=run_id.encode()), 10)
            self.reports += 1


def _event(flow_run_id: uuid.UUID) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    resource = {
        "prefect.resource.id": f"prefect.flow-run.{flow_run_id}", "prefect.resource.name": "bystander",
        "prefect.run-count": "1", "prefect.state-name": "Running", "prefect.state-type": "RUNNING",
        "prefect.state-timestamp": now, "prefect.state-message": "",
    }  # fmt: skip
    return {"occurred": now, "event": "prefect.flow-run.Running", "id": str(uuid.uuid4()), "resource": resource,
            "related": [], "payload": {}}  # fmt: skip
