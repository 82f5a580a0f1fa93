"""submission, run_tracker and lineage on one world with the real Prefect, and backups of their schemas.

Flow runs are moved through their states by REST, as a worker would, so nothing has to be executed.
"""

from __future__ import annotations

import uuid
from typing import Any

import asyncpg

from tests.component.submission.conftest import Prefect
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World

SERVICES = ("submission", "run_tracker", "lineage")


class Restored:
    """One tenant's platform: `prices`, and `momentum` that reads it."""

    def __init__(self, world: World, prefect: Prefect) -> None:
        self.world, self.kafka, self.prefect = world, world.kafka, prefect
        self.tenant = world.env["RUNTIDE_TENANT"]
        self.services: dict[str, ServiceHarness] = {}

    async def open(self) -> Restored:
        for name in SERVICES:
            await self.start(name)
        deployment = await self.prefect.deploy("prod", ["run_id"])
        for name, above in (("prices", []), ("momentum", ["prices"])):
            await self._command(name, deployment, above)
        await self.settled()
        return self

    async def _command(self, name: str, deployment: str, above: list[str]) -> None:
        flow = {"kind": "refresh", "deployment": deployment, "reports": "none"}
        register = {
            "type": "instance.register", "tenant": self.tenant, "name": name, "instance_type": "DatasetInstance",
            "flows": [flow], "upstreams": [{"instance": one} for one in above],
        }  # fmt: skip
        await self.kafka.send("instances.commands.v1", register, key=self.tenant.encode())

    async def start(self, name: str) -> None:
        quick = {"sweep_seconds": 2} if name == "run_tracker" else {}
        self.services[name] = await self.world.start(name, **quick)

    async def close(self) -> None:
        for service in self.services.values():
            await service.stop()

    async def settled(self) -> None:
        """Twice round: what one says, the others hear and answer."""
        for _ in range(2):
            for service in self.services.values():
                await service.settled()

    # -- runs ----------------------------------------------------------------------------------------------------

    async def submit(self, name: str, **more: Any) -> str:
        """A line on Kafka; answers the run id."""
        command = {"type": "run.submit", "command_id": str(uuid.uuid4()), "tenant": self.tenant, "instance": name}
        await self.kafka.send("runs.commands.v1", command | more)
        sql = "select run_id from requests where command_id = $1 and seq > 0"
        asked = await eventually(lambda: self.rows("submission", sql, command["command_id"]), what="the request")
        return str(asked[0]["run_id"])

    async def until(self, run_id: str, status: str) -> None:
        """The request or run shows this status."""

        async def shown() -> bool:
            found = [
                *await self.rows("submission", "select status from requests where run_id = $1", uuid.UUID(run_id)),
                *await self.rows("run_tracker", "select status from runs where run_id = $1", uuid.UUID(run_id)),
            ]
            return status in {row["status"] for row in found}

        await eventually(shown, within_seconds=60, what=f"{run_id} {status}")

    async def move(self, run_id: str, *types: str) -> None:
        [flow_run] = await eventually(lambda: self.prefect.flow_runs(run_id), what="a flow run")
        for state_type in types:
            body = {"state": {"type": state_type, "name": state_type.title()}, "force": True}
            await self.prefect._post(f"/flow_runs/{flow_run['id']}/set_state", body)
        await self.until(run_id, types[-1].lower())

    # -- what is kept --------------------------------------------------------------------------------------------

    async def rows(self, schema: str, sql: str, *args: Any) -> list[dict[str, Any]]:
        return await self.world.rows(schema, sql, *args)

    async def _tables(self, conn: asyncpg.Connection, schema: str) -> list[str]:
        sql = "select tablename from pg_tables where schemaname = $1 order by 1"
        return [row["tablename"] for row in await conn.fetch(sql, schema)]

    async def back_up(self) -> None:
        """A copy of every table of every service, at one instant."""
        conn = await asyncpg.connect(self.world.dsn)
        async with conn.transaction(isolation="repeatable_read"):
            for schema in SERVICES:
                await conn.execute(f"create schema backup_{schema}")
                for table in await self._tables(conn, schema):
                    await conn.execute(f"create table backup_{schema}.{table} as table {schema}.{table}")
        await conn.close()

    async def restore(self, schema: str) -> None:
        """Stop the service, put its tables back as they were, and start it: it knows no better."""
        await self.services.pop(schema).stop()
        conn = await asyncpg.connect(self.world.dsn)
        async with conn.transaction():
            tables = await self._tables(conn, schema)
            await conn.execute(f"truncate {', '.join(f'{schema}.{table}' for table in tables)}")
            await conn.execute("set constraints all deferred")
            for table in sorted(tables, key=lambda name: name.endswith("_runs")):  # what refers to runs comes last
                names = await self._columns(conn, schema, table)
                await conn.execute(
                    f"insert into {schema}.{table} ({names}) overriding system value "
                    f"select {names} from backup_{schema}.{table}"
                )
        await conn.close()
        await self.start(schema)

    async def _columns(self, conn: asyncpg.Connection, schema: str, table: str) -> str:
        sql = "select column_name from information_schema.columns where table_schema = $1 and table_name = $2"
        return ", ".join(f'"{row["column_name"]}"' for row in await conn.fetch(sql, schema, table))

    async def announce(self, service: str, **how: Any) -> int:
        """All portions, small ones; answers how much was said."""
        total, cursor = 0, None
        while True:
            asked = {"limit": 2, "cursor": cursor, **how}
            answer = await self.services[service].http.post("/v1/ops/announce", json=asked, timeout=60)
            assert answer.status_code == 200, answer.text
            total, cursor = total + answer.json()["announced"], answer.json()["cursor"]
            if cursor is None:
                return total

    async def last_words(self, topic: str, key: str) -> dict[str, dict[str, Any]]:
        """Entity → its snapshot with the greatest seq."""
        found: dict[str, dict[str, Any]] = {}
        for message in await self.kafka.all(topic):
            if message["seq"] > found.get(message[key], {"seq": 0})["seq"]:
                found[message[key]] = message
        return found
