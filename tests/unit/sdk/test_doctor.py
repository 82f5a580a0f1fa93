"""The doctor says what is wrong and what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
from runtide import doctor
from runtide.doctor import Finding

from tests.unit.sdk.stories import SETTINGS, URLS
from tests.unit.sdk.test_settings import token

HERE = replace(SETTINGS, prefect_api_url="http://prefect.test/api", s3_endpoint="http://s3.test", **URLS)


async def examined(answers: dict[str, httpx.Response], *, lineage: bool = False, **settings: Any) -> dict[str, Finding]:
    def serve(sent: httpx.Request) -> httpx.Response:
        if sent.url.host not in answers:
            raise httpx.ConnectError("connection refused")
        return answers[sent.url.host]

    findings = await doctor.examine(replace(HERE, **settings), httpx.MockTransport(serve), lineage=lineage)
    return {finding.part: finding for finding in findings}


async def test_a_part_that_is_away_is_a_failure_with_what_to_do() -> None:
    found = await examined({})
    assert found["prefect"].state == found["s3"].state == found["lineage"].state == "failed"
    assert found["lineage"].to_do == "`make status`, `make logs PART=lineage`"
    assert found["kafka"].state == found["notifier"].state == "skipped"
    assert not doctor.healthy(list(found.values()))


async def test_a_service_that_is_not_ready_says_which_check() -> None:
    body = {"checks": {"postgres": {"ok": True}, "migrations": {"ok": False, "pending": ["0002"]}}, "degraded": {}}
    found = await examined({"lineage.test": httpx.Response(503, json=body)})
    assert found["lineage"].said == "not ready: migrations: migrations not applied: ['0002']"


async def test_a_degraded_service_is_ready_with_a_warning() -> None:
    degraded = {"prefect": {"problem": "connection refused", "since": None}}
    found = await examined({"submission.test": httpx.Response(200, json={"checks": {}, "degraded": degraded})})
    assert found["submission"].state == "warning"
    assert "prefect: connection refused" in found["submission"].said


async def test_any_answer_of_the_object_store_will_do_but_not_of_prefect() -> None:
    refused = httpx.Response(403)
    found = await examined({"s3.test": refused, "prefect.test": refused})
    assert (found["s3"].state, found["prefect"].state) == ("ok", "failed")


async def test_a_token_of_another_tenant_or_time_is_found() -> None:
    assert (await examined({}, token=token(tenant="other")))["token"].state == "failed"
    assert "expired" in (await examined({}, token=token(tenant="acme", exp=1_000_000_000)))["token"].said
    assert (await examined({}, token=token(tenant="acme", sub="ana@acme")))["token"].state == "ok"


async def test_a_centrifugo_that_refuses_the_dashboards_pages_is_found_with_the_setting_to_change() -> None:
    places = {
        "centrifugo_api_url": "http://api.test", "centrifugo_ws_url": "wss://ws.test/connection/websocket",
        "dashboard_url": "http://pages.test:8104/",
    }  # fmt: skip
    well = httpx.Response(200, json={})
    refused = (await examined({"api.test": well, "ws.test": httpx.Response(403)}, **places))["realtime"]
    assert refused.said == "wss://ws.test/connection/websocket refuses pages of http://pages.test:8104/"
    assert refused.to_do == "add it to its client.allowed_origins"
    opened = await examined({"api.test": well, "ws.test": httpx.Response(101)}, **places)
    assert opened["realtime"].state == "ok"
    assert (await examined({"api.test": well}, **places))["realtime"].state == "failed"


async def test_a_calendar_that_ends_soon_is_a_warning_with_the_command() -> None:
    ending = {"code": "XLON", "last_day": "2026-12-31", "days_left": 12, "ends_soon": True}
    lasting = {"code": "XNYS", "last_day": "2027-12-31", "days_left": 400, "ends_soon": False}
    body = {"calendars": [ending, lasting], "checks": {}}
    found = await examined({"lineage.test": httpx.Response(200, json=body)}, token=token(tenant="acme"))
    assert found["calendars"].state == "warning"
    assert found["calendars"].said == "XLON ends on 2026-12-31, in 12 days"
    assert found["calendars"].to_do == "runtide calendars sync XLON"
    fine = httpx.Response(200, json={"calendars": [lasting], "checks": {}})
    assert (await examined({"lineage.test": fine}, token=token(tenant="acme")))["calendars"].state == "ok"


async def test_each_trouble_of_runs_is_named_with_what_to_do() -> None:
    hanging = {"code": "UNRESPONSIVE", "said": "1 run without a heartbeat", "to_do": "cancel it", "runs": 1}
    refused = {"code": "LOSS_REFUSED", "said": "nothing is marked as lost", "to_do": "confirm-loss", "runs": None}
    for troubles, state in (([hanging], "warning"), ([hanging, refused], "failed"), ([], "ok")):
        answer = httpx.Response(200, json={"troubles": troubles, "swept_at": "2026-11-24T09:00:00Z", "checks": {}})
        found = (await examined({"tracker.test": answer}, token=token(tenant="acme")))["runs"]
        assert found.state == state
    found = await examined({"tracker.test": httpx.Response(403, json={})}, token=token(tenant="acme"))
    assert "runs" not in found


async def test_freshness_that_is_not_what_the_runs_say_is_named_where_it_is_asked_for() -> None:
    wrong = {"flow": "prices/refresh", "field": "freshness", "stored": "ready", "recomputed": "stale"}
    body = {"flows": 3, "agrees": False, "deviations": [wrong], "deviations_total": 1}
    found = await examined({"lineage.test": httpx.Response(200, json=body)}, lineage=True)
    assert found["freshness"].state == "failed"
    assert found["freshness"].said == "1 deviations: prices/refresh has freshness ready, not stale"
    right = httpx.Response(200, json={"flows": 3, "agrees": True, "deviations": []})
    assert (await examined({"lineage.test": right}, lineage=True))["freshness"].state == "ok"
    assert "freshness" not in await examined({"lineage.test": right})
