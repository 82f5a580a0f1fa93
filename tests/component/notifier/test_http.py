"""Tokens only for what is the caller's; activities, newest first, in pages; where the dashboard finds the services."""

from __future__ import annotations

from typing import Any

import httpx
import jwt
import pytest

from services.notifier.tokens import AUDIENCE, ISSUER
from tests.component.notifier.conftest import activity, instance, new_id, request, run
from tests.support.harness import ServiceHarness


@pytest.fixture(scope="module")
async def owned(notifier: ServiceHarness) -> dict[str, str]:
    """A request, a run nobody requested and an instance of acme, known to the notifier."""
    ids = {"request": new_id(), "run": new_id(), "instance": new_id(), "ahead": new_id()}
    kafka = notifier.kafka
    await kafka.send("requests.status.v1", request(ids["request"], instance_id=ids["instance"]))
    await kafka.send("requests.status.v1", request(ids["ahead"], instance_id=None, status="cancelled"))
    await kafka.send("runs.status.v1", run(ids["run"], instance_id=ids["instance"]))
    await kafka.send("instances.status.v1", instance(ids["instance"]), key=b"i")
    await notifier.settled()
    return ids


def other(notifier: ServiceHarness) -> dict[str, str]:
    return {"Authorization": f"Bearer {notifier.world.env['RUNTIDE_TOKEN_OTHER']}"}


def claims(notifier: ServiceHarness, token: str) -> dict[str, Any]:
    key = notifier.world.env["RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY"]
    found: dict[str, Any] = jwt.decode(token, key, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
    return found


def channels(owned: dict[str, str]) -> list[str]:
    return [
        "tenant:acme:feed", "lineage:acme", f"run:{owned['request']}:progress", f"run:{owned['run']}:progress",
        f"instance:{owned['instance']}:status", f"instance:{owned['instance']}:runs",
    ]  # fmt: skip


async def subscribe(notifier: ServiceHarness, body: dict[str, Any], **how: Any) -> httpx.Response:
    return await notifier.http.post("/v1/realtime/subscribe", json=body, **how)


async def test_a_connection_token_ends_and_is_for_the_caller(notifier: ServiceHarness) -> None:
    answer = (await notifier.http.post("/v1/realtime/connect")).json()
    assert answer["url"] == notifier.world.env["RUNTIDE_CENTRIFUGO_WS_URL"]
    found = claims(notifier, answer["token"])
    assert found["sub"].startswith("acme/")
    assert found["exp"] > 0


async def test_each_of_the_callers_channels_gets_a_token_of_its_own(
    notifier: ServiceHarness, owned: dict[str, str]
) -> None:
    for channel in channels(owned):
        token = (await subscribe(notifier, {"channel": channel})).raise_for_status().json()["token"]
        assert claims(notifier, token)["channel"] == channel
    tokens = (await subscribe(notifier, {"channels": channels(owned)})).json()["tokens"]
    assert {channel: claims(notifier, token)["channel"] for channel, token in tokens.items()} == {
        channel: channel for channel in channels(owned)
    }


async def test_another_tenants_channel_is_404_as_if_it_did_not_exist(
    notifier: ServiceHarness, owned: dict[str, str]
) -> None:
    for channel in channels(owned):
        answer = await subscribe(notifier, {"channel": channel}, headers=other(notifier))
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND"), channel
    mixed = {"channels": ["lineage:globex", channels(owned)[2]]}
    assert (await subscribe(notifier, mixed, headers=other(notifier))).status_code == 404


@pytest.mark.parametrize("channel", ["run:{}:progress", "instance:{}:status", "tenant:*:feed", "personal", "$run:{}"])
async def test_an_id_that_nobody_has_seen_and_a_channel_of_nobody_are_404(
    notifier: ServiceHarness, channel: str
) -> None:
    assert (await subscribe(notifier, {"channel": channel.format(new_id())})).status_code == 404


async def test_a_cancel_ahead_owns_nothing(notifier: ServiceHarness, owned: dict[str, str]) -> None:
    assert (await subscribe(notifier, {"channel": f"run:{owned['ahead']}:progress"})).status_code == 404


async def test_asking_for_nothing_or_for_too_much_is_422(notifier: ServiceHarness) -> None:
    for body in ({}, {"channels": []}, {"channels": ["lineage:acme"] * 1001}, {"chanel": "lineage:acme"}):
        assert (await subscribe(notifier, body)).status_code == 422


async def test_without_a_token_nothing_is_minted(notifier: ServiceHarness) -> None:
    async with httpx.AsyncClient(base_url=notifier.running.http_url) as bare:
        for path in ("/v1/realtime/connect", "/v1/realtime/subscribe"):
            assert (await bare.post(path, json={})).status_code == 401
        assert (await bare.get("/v1/activities")).status_code == 401


async def test_activities_come_newest_first_in_pages_each_once_and_only_the_tenants(notifier: ServiceHarness) -> None:
    mine = [activity(n) for n in range(7)]
    for one in [*mine, mine[0], activity(3, tenant="globex"), mine[5]]:  # out of order, and some twice
        await notifier.kafka.send("activities.v1", one)
    await notifier.settled()
    assert len(await notifier.rows("select from activities")) == 8
    seen: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        query = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = (await notifier.http.get("/v1/activities", params=query)).raise_for_status().json()
        assert page["as_of"]
        seen, cursor = seen + page["activities"], page["cursor"]
    assert [one["activity_id"] for one in seen] == [one["activity_id"] for one in reversed(mine)]
    assert seen[0]["payload"] == {"n": 6}
    [theirs] = (await notifier.http.get("/v1/activities", headers=other(notifier))).json()["activities"]
    assert theirs["tenant"] == "globex"
    filtered = (await notifier.http.get("/v1/activities?resource_id=r2&action=request.parked")).json()["activities"]
    assert [one["resource_id"] for one in filtered] == ["r2"]
    assert (await notifier.http.get("/v1/activities?cursor=x")).status_code == 422


async def test_the_page_is_told_where_the_services_are(notifier: ServiceHarness) -> None:
    async with httpx.AsyncClient(base_url=notifier.running.http_url) as bare:
        config = (await bare.get("/config.json")).json()
        assert set(config) == {"submission", "run_tracker", "lineage", "notifier", "prefect_ui"}
        assert not config["prefect_ui"].endswith("/api")
        assert (await bare.get("/")).status_code in (200, 503)
