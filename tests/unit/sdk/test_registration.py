"""Applying a platform: only what is new or different is sent, and each answer is waited for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from uuid import uuid4

import pytest
from runtide import errors
from runtide.client import Runtide
from runtide.platform import Platform
from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.instances import RegisterInstance
from runtide_schemas.message import Message

from tests.unit.sdk.memory_log import MemoryLog
from tests.unit.sdk.stories import AT, SETTINGS, snapshot_of
from tests.unit.sdk.test_platform import GOOD

PLATFORM = Platform.parse(GOOD.split("  - name: model")[0])


def lineage(command: Message) -> Iterable[Message]:
    if isinstance(command, RegisterInstance):
        yield snapshot_of(command)


def refusing(command: Message) -> Iterable[Message]:
    if isinstance(command, RegisterInstance):
        payload = {"command_id": command.command_id, "code": "INVALID_COMMAND", "message": "cycle: a → b → a"}
        yield ActivityRecorded(
            tenant="acme", activity_id=uuid4(), resource_type="instance", resource_id=str(command.id),
            action="command.refused", payload=payload, occurred_at=AT,
        )  # fmt: skip


async def test_a_new_platform_is_published_and_each_answer_awaited() -> None:
    log = MemoryLog(lineage)
    async with Runtide(SETTINGS, log=log) as client:
        applied = await client.apply(PLATFORM)
    assert [plan.kind for plan in applied.planned] == ["new", "new"]
    assert {snapshot.name for snapshot in applied.snapshots.values()} == {"prices", "momentum"}


async def test_what_is_not_named_is_absent_on_the_wire() -> None:
    log = MemoryLog(lineage)
    async with Runtide(SETTINGS, log=log) as client:
        await client.apply(PLATFORM)
    body = json.loads(log.sent[0][2])
    assert body["type"] == "instance.register"
    assert "upstreams" not in body
    assert body["flows"] == [{"kind": "refresh", "deployment": "refresh-prices/prod"}]


async def test_applying_again_sends_nothing() -> None:
    log = MemoryLog(lineage)
    async with Runtide(SETTINGS, log=log) as client:
        await client.apply(PLATFORM)
        before = len(log.sent)
        applied = await client.apply(PLATFORM)
    assert len(log.sent) == before
    assert [plan.kind for plan in applied.planned] == ["unchanged", "unchanged"]
    assert len(applied.snapshots) == 2


async def test_a_change_says_what_changes() -> None:
    log = MemoryLog(lineage)
    changed = GOOD.split("  - name: model")[0].replace("refresh-momentum/prod", "refresh-momentum/v2")
    changed = changed.replace("on_upstream: refresh", "on_upstream: refresh\n        retry: {max: 2, on: [lost]}")
    changed = changed.replace("[prices]", "[{instance: prices, role: input}]").replace("data@acme", "quant@acme")
    async with Runtide(SETTINGS, log=log) as client:
        await client.apply(PLATFORM)
        log.answers = lambda command: [snapshot.model_copy(update={"seq": 2}) for snapshot in lineage(command)]
        applied = await client.apply(Platform.parse(changed))
    prices, momentum = applied.planned
    assert prices.changes == ("owner data@acme → quant@acme",)
    assert momentum.changes == (
        "flow refresh: deployment refresh-momentum/prod → refresh-momentum/v2",
        'flow refresh: retry None → {"max":2,"on":["lost"]}',
        "upstream prices removed",
        "upstream input added",
    )


async def test_a_refused_registration_is_told_by_name() -> None:
    async with Runtide(SETTINGS, log=MemoryLog(refusing)) as client:
        with pytest.raises(errors.RegistrationRefused, match="prices: cycle: a → b → a\nmomentum: cycle"):
            await client.apply(PLATFORM)


async def test_who_does_not_answer_is_named() -> None:
    async with Runtide(SETTINGS, log=MemoryLog()) as client:
        with pytest.raises(errors.WaitTimedOut, match=r"no answer in 0.01 s for: prices, momentum"):
            await client.apply(PLATFORM, timeout_seconds=0.01)


async def test_one_instance_is_registered_by_keywords() -> None:
    log = MemoryLog(lineage)
    async with Runtide(SETTINGS, log=log) as client:
        snapshot = await client.register(
            "prices", instance_type="DatasetInstance", flows=[{"kind": "refresh", "deployment": "refresh-prices/prod"}]
        )
        with pytest.raises(errors.InvalidCommand, match="instance_type"):
            await client.register("prices", instance_type="Dataset")
    assert snapshot.name == "prices"
