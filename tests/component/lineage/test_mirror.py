"""What a process remembers of a tenant is what a process that has just begun would load."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from services.lineage.mirror import Loaded, Mirror
from services.lineage.store import LineageStore
from shared.postgres import execute
from tests.component.lineage.told import Told


async def read(told: Told, mirror: Mirror) -> Loaded:
    async with told.lineage.running.context.engine.connect() as conn:
        return await LineageStore(conn, mirror).read(told.tenant)


def service_mirror(told: Told) -> Mirror:
    mirror: Mirror = told.lineage.running.service.store.keywords["mirror"]  # type: ignore[attr-defined]
    return mirror


async def lived(told: Told) -> str:
    """Registrations, completions, a failure, a change of edges, waiting and ended requests."""
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices", flow={"on_upstream": "refresh"})
    await told.register("book", "momentum")
    first = await told.completed("prices", output="monday", rows_processed=7, last_data_date="2026-01-05")
    below = await told.completed("momentum", read={"prices": first})
    await told.completed("book", read={"momentum": below})
    await told.completed("prices", output="tuesday")
    await told.completed("prices", output="tuesday")
    await told.run(await told.ask("book", gate="force"), "book", "failed")
    await told.register("book", "momentum", "other")
    await told.command("instance.change_definition", instance="prices", digest="sha256:1")
    waiting = await told.ask("book", gate="wait", parameters={"window": 20})
    await told.decision(waiting)
    await told.is_quiet()
    return waiting


async def test_what_is_remembered_is_what_is_stored(told: Told) -> None:
    waiting = await lived(told)
    remembered, stored = service_mirror(told).get(told.tenant), await read(told, Mirror())
    assert remembered is not None
    assert remembered.loaded.world.instances == stored.world.instances
    assert remembered.loaded.world.open_runs == stored.world.open_runs
    assert remembered.loaded.requests == stored.requests
    assert waiting in map(str, stored.requests)
    edges = {
        tuple(one.world.graph.into(key)) for one in (remembered.loaded, stored) for key in stored.world.flow_keys()
    }
    assert len(edges) == len({tuple(stored.world.graph.into(key)) for key in stored.world.flow_keys()})


async def test_one_that_was_away_loads_only_what_others_changed_and_is_right(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    for number in range(20):
        await told.register(f"other-{number}")
    await told.is_quiet()
    mirror = Mirror()
    before = await read(told, mirror)
    await lived(told)
    loaded = await read(told, mirror)
    assert loaded == await read(told, Mirror())
    other = UUID(told.id("other-3"))
    assert loaded.world.instances[other] is before.world.instances[other]
    again = await read(told, mirror)
    assert again is loaded


async def test_a_transaction_that_was_rolled_back_is_not_remembered(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.is_quiet()
    mirror, context = Mirror(), told.lineage.running.context
    before = await read(told, mirror)
    [prices] = before.world.instances.values()

    async def rename(*, commit: bool) -> Any:
        async with context.engine.connect() as conn:
            store = LineageStore(conn, mirror)
            await store.lock([told.tenant])
            loaded = (await store.load([told.tenant]))[told.tenant]
            after = replace(prices, owner="desk@acme", seq=prices.seq + 1)
            await store.save_instances([(prices, after)])
            remember = await store.advance([Loaded.of(loaded.world.with_announced([after]), ())])
            if commit:
                await conn.commit()
                remember()

    await rename(commit=False)
    assert await read(told, mirror) == before
    await rename(commit=True)  # the control: this one is
    assert await read(told, mirror) == await read(told, Mirror()) != before


async def test_a_remembered_tenant_whose_row_is_gone_gets_it_again_with_its_lock(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.is_quiet()
    mirror, context = Mirror(), told.lineage.running.context
    await read(told, mirror)
    async with context.engine.connect() as conn:
        await execute(conn, "delete from tenants where tenant = :tenant", tenant=told.tenant)
        store = LineageStore(conn, mirror)
        await store.lock([told.tenant])
        loaded = (await store.load([told.tenant]))[told.tenant]
        assert [one.name for one in loaded.world.instances.values()] == ["prices"]
        await conn.rollback()


async def test_what_is_stored_is_what_the_runs_say_and_what_is_not_is_named(told: Told) -> None:
    await lived(told)
    asked = {"params": {"tenant": told.tenant}}
    found = (await told.lineage.http.get("/v1/ops/lineage", **asked)).json()
    assert (found["flows"], found["agrees"], found["deviations"]) == (3, True, [])
    ready = "jsonb_set(answers, '{refresh,0}', '\"ready\"')"  # the control: by hand, past the lock
    await told.lineage.rows(f"update standings set revision = 999, answers = {ready} where tenant = $1", told.tenant)
    await told.lineage.rows("update tenants set revision = 999 where tenant = $1", told.tenant)
    found = (await told.lineage.http.get("/v1/ops/lineage", **asked)).json()
    assert found["agrees"] is False
    assert ("momentum/refresh", "freshness", "ready") in [
        (one["flow"], one["field"], one["stored"]) for one in found["deviations"]
    ]
