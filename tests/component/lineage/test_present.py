"""What HTTP says of a tenant is what was committed last, though memory says it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import jwt

from services.lineage.mirror import Mirror
from services.lineage.store import LineageStore
from tests.component.lineage.test_calendars import body
from tests.support.harness import ServiceHarness

DAILY = {"frequency": "daily", "business_days_only": True, "available_at": "18:00"}


def tenant_of(lineage: ServiceHarness) -> str:
    """Whose token the harness sends."""
    token = lineage.http.headers["authorization"].removeprefix("Bearer ")
    said: str = jwt.decode(token, options={"verify_signature": False})["tenant"]
    return said


async def registered(lineage: ServiceHarness, *upstreams: str, **fields: Any) -> httpx.Response:
    name = f"present-{uuid4().hex[:8]}"
    made = {
        "instance_type": "SignalInstance", "flows": [{"kind": "refresh", "deployment": "refresh-x/prod"}],
        "upstreams": [{"instance": one} for one in upstreams], **fields,
    }  # fmt: skip
    answer = await lineage.http.put(f"/v1/instances/{name}", json=made)
    assert answer.status_code == 201, answer.text
    return answer


def without_time(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "as_of"}


async def shown(lineage: ServiceHarness, name: str) -> dict[str, Any]:
    return without_time((await lineage.http.get(f"/v1/instances/{name}")).json())


async def test_one_alone_and_one_of_a_list_are_said_as_when_it_was_registered(lineage: ServiceHarness) -> None:
    above = (await registered(lineage, owner='says "x"')).json()["name"]
    made = without_time((await registered(lineage, above, update_frequency=DAILY)).json())
    assert made["upstreams"][0]["name"] == above
    assert await shown(lineage, made["name"]) == made
    asked = {"params": {"instance_type": "SignalInstance", "limit": 500}}
    listed = (await lineage.http.get("/v1/instances", **asked)).json()["instances"]
    assert made in listed


async def test_memory_answers_until_postgresql_counts_a_change(lineage: ServiceHarness) -> None:
    name = (await registered(lineage, owner="ana@acme")).json()["name"]
    await lineage.rows("update instances set owner = 'bob@acme' where name = $1", name)  # the control: not counted
    assert (await shown(lineage, name))["owner"] == "ana@acme"
    count = "update tenants set revision = revision + 1 where tenant = $1 returning revision"
    [counted] = await lineage.rows(count, tenant_of(lineage))
    of_it = "where instance_id = (select instance_id from instances where name = $1)"
    await lineage.rows(f"update standings set revision = $2 {of_it}", name, counted["revision"])
    assert (await shown(lineage, name))["owner"] == "bob@acme"


async def test_a_calendar_that_changes_without_its_tenants_is_seen(lineage: ServiceHarness) -> None:
    code, context, tenant = f"X{uuid4().hex[:6].upper()}", lineage.running.context, tenant_of(lineage)
    assert (await lineage.http.put(f"/v1/calendars/{code}", json=body())).status_code == 201
    await registered(lineage, update_frequency={**DAILY, "calendar": code})
    mirror = Mirror()
    async with context.engine.connect() as conn:
        before = (await LineageStore(conn, mirror).read(tenant)).world.calendars
    await lineage.rows("delete from calendars where code = $1", code)
    async with context.engine.connect() as conn:
        after = (await LineageStore(conn, mirror).present(tenant)).calendars
    assert before is not None
    assert after is not None
    assert before != after
    remembered = mirror.get(tenant)
    assert remembered is not None
    assert remembered.loaded.world.calendars == before  # the control: memory alone would not have said so
