"""One whole service in this process, on real Kafka and PostgreSQL, alone behind a prefix and in its own database."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import asyncpg
import httpx
from runtide_schemas.login import KafkaLogin

from shared.messaging.consumer import BatchConsumer
from shared.migrate import migrate
from shared.postgres import engine_for
from shared.running import Running
from shared.service import Service
from shared.settings import ServiceSettings
from tests.support.eventually import eventually
from tests.support.kafka import Kafka

SECRETS = {
    "RUNTIDE_AUTH_HMAC_KEYS": "component-tests-0123456789abcdef0123456789",
}


class World:
    """A database and a prefix of one's own on the stack; services are started into it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.id = f"t{uuid.uuid4().hex[:10]}"
        # Who is believed is said by the test, whatever mode the stack is in.
        self.env = {**env, "RUNTIDE_KAFKA_PREFIX": f"{self.id}.", "RUNTIDE_COMMANDS_AUTH": "open"}
        self._admin_dsn = env["RUNTIDE_POSTGRES_DSN"]
        base, _, _ = self._admin_dsn.rpartition("/")
        self.env["RUNTIDE_POSTGRES_DSN"] = self.dsn = f"{base}/{self.id}"
        self.kafka = Kafka(env["RUNTIDE_KAFKA_BOOTSTRAP"], f"{self.id}.", KafkaLogin.from_environment(env))

    async def open(self) -> World:
        admin = await asyncpg.connect(self._admin_dsn)
        try:
            await admin.execute(f'create database "{self.id}"')
        finally:
            await admin.close()
        await self.kafka.start()
        await self.kafka.create_topics()
        return self

    async def close(self) -> None:
        await self.kafka.delete_topics()
        await self.kafka.stop()
        admin = await asyncpg.connect(self._admin_dsn)
        try:
            await admin.execute(f'drop database if exists "{self.id}" with (force)')
        finally:
            await admin.close()

    def settings(self, name: str, **changes: Any) -> ServiceSettings:
        """The service's settings in this world; a free HTTP port."""
        module = import_module(f"services.{name}.settings")
        settings_type: type[ServiceSettings] = next(
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, ServiceSettings) and value.__module__ == module.__name__
        )
        return self.settings_of(settings_type, **changes)

    def settings_of(self, settings_type: type[ServiceSettings], **changes: Any) -> ServiceSettings:
        """Settings of any type of service in this world."""
        own = {name: value for name, value in self.env.items() if name.startswith("RUNTIDE_")}
        before = dict(os.environ)
        os.environ.update(own)
        try:
            return settings_type(
                **{"http_port": 0, "log_format": "console", "log_level": "WARNING", "instance_id": self.id, **changes}
            )
        finally:
            for variable in own:
                if variable in before:
                    os.environ[variable] = before[variable]
                else:
                    del os.environ[variable]

    async def migrate(self, name: str) -> None:
        engine = engine_for(self.settings(name).postgres, schema=name, application="test")
        try:
            await migrate(engine, name)
        finally:
            await engine.dispose()

    async def start(
        self, name: str, *, migrated: bool = False, without: Collection[str] = (), **changes: Any
    ) -> ServiceHarness:
        """The service, migrated and running; `without` some of its workers, as if they had died."""
        if not migrated:
            await self.migrate(name)
        settings = self.settings(name, **changes)
        service: Service[Any] = import_module(f"services.{name}.app").build(settings)
        workers = [worker for worker in service.workers if worker.name not in without]
        running: Running[Any] = Running(replace(service, workers=workers))
        await running.start()
        return ServiceHarness(name, self, running)

    async def rows(self, schema: str, sql: str, *args: Any) -> list[dict[str, Any]]:
        """What a query of ours answers, in the schema of one service."""
        conn = await asyncpg.connect(self.dsn, server_settings={"search_path": schema})
        try:
            return [dict(row) for row in await conn.fetch(sql, *args)]
        finally:
            await conn.close()


class ServiceHarness:
    """A running service."""

    def __init__(self, name: str, world: World, running: Running[Any]) -> None:
        self.name, self.world, self.running = name, world, running
        self.kafka = world.kafka
        self.http = httpx.AsyncClient(
            base_url=running.http_url, headers={"Authorization": f"Bearer {world.env['RUNTIDE_TOKEN']}"}, timeout=15
        )

    async def rows(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        return await self.world.rows(self.name, sql, *args)

    async def settled(self) -> None:
        """Everything sent so far has been read, and what was to be said about it lies in Kafka."""
        for consumer in self.running.context.consumers.values():
            await eventually(lambda consumer=consumer: self._at_the_end(consumer), what=f"{consumer.name} at the end")
        await eventually(self._has_said_all, what="an empty outbox")

    async def _at_the_end(self, consumer: BatchConsumer[Any]) -> bool:
        ends = await self.running.context.end_offsets(consumer.topic)
        rows = await self.rows("select * from consumer_offsets where consumer = $1", consumer.name)
        offsets = {row["partition"]: row["next_offset"] for row in rows}
        return all(offsets.get(partition, 0) == end for partition, end in ends.items())

    async def _has_said_all(self) -> bool:
        return not await self.rows("select from outbox limit 1")

    async def stop(self) -> None:
        await self.http.aclose()
        await self.running.stop()


def of(messages: Sequence[Mapping[str, Any]], **fields: Any) -> list[dict[str, Any]]:
    """The messages whose fields have these values."""
    return [dict(m) for m in messages if all(str(m.get(name)) == str(value) for name, value in fields.items())]
