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
    return {finding.part: finding for finding in reversed(findings)}  # of each part what is said first


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


def at(*answers: tuple[str, int, dict[str, Any]]) -> Any:
    """By path; what is not there is a 404."""
    known = {path: (status, body) for path, status, body in answers}

    def serve(sent: httpx.Request) -> httpx.Response:
        status, body = known.get(sent.url.path, (404, {}))
        return httpx.Response(status, json=body)

    return serve


async def test_a_degraded_service_is_ready_with_a_warning_where_no_token_shows_its_faults() -> None:
    degraded = {"prefect": {"problem": "connection refused", "since": None}}
    serve = at(("/readyz", 200, {"checks": {}, "degraded": degraded}), ("/v1/ops", 401, {"code": "UNAUTHENTICATED"}))
    findings = await doctor.examine(HERE, httpx.MockTransport(serve))
    warning, skipped = (finding for finding in findings if finding.part == "submission")
    assert (warning.state, skipped.state) == ("warning", "skipped")
    assert "prefect: connection refused" in warning.said
    assert "check RUNTIDE_TOKEN" in skipped.said


SENT = {
    "name": "outbox_not_sent", "state": "failed", "said": "7 messages wait to be sent, the oldest for 45 s",
    "to_do": "is Kafka up?", "since": "2025-01-15T09:12:30Z",
}  # fmt: skip
AWAY = {
    "name": "prefect_away",
    "state": "warning",
    "said": "for 5 s: refused",
    "to_do": "is Prefect up?",
    "since": None,
}


async def test_what_a_service_finds_wrong_is_said_with_its_name_since_when_and_what_to_do() -> None:
    here = replace(HERE, token=token(tenant="acme"))
    serve = at(("/readyz", 200, {"checks": {}}), ("/v1/ops", 200, {"findings": [SENT, AWAY]}))
    findings = await doctor.examine(here, httpx.MockTransport(serve))
    of_lineage = [finding for finding in findings if finding.part == "lineage"]
    assert [finding.state for finding in of_lineage] == ["ok", "failed"]
    assert of_lineage[1].said == f"outbox_not_sent (since 2025-01-15 09:12Z): {SENT['said']}"
    assert of_lineage[1].to_do == "is Kafka up?"
    assert (of_lineage[1].name, of_lineage[1].since) == ("outbox_not_sent", "2025-01-15T09:12:30Z")


async def test_one_cause_is_said_once_by_the_part_that_is_away_and_else_by_those_who_feel_it() -> None:
    here = replace(HERE, token=token(tenant="acme"))
    answers = (("/readyz", 200, {"checks": {}}), ("/v1/ops", 200, {"findings": [AWAY]}))
    away = await doctor.examine(here, httpx.MockTransport(at(*answers)))
    assert [finding.part for finding in away if finding.state == "failed"] == ["prefect"]
    assert "prefect_away" not in {finding.name for finding in away}
    up = await doctor.examine(here, httpx.MockTransport(at(*answers, ("/api/health", 200, {}))))
    assert "prefect_away" in {finding.name for finding in up}


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


async def test_freshness_that_is_not_what_the_runs_say_is_named_where_it_is_asked_for() -> None:
    wrong = {"flow": "prices/refresh", "field": "freshness", "stored": "ready", "recomputed": "stale"}
    body = {"flows": 3, "agrees": False, "deviations": [wrong], "deviations_total": 1}
    found = await examined({"lineage.test": httpx.Response(200, json=body)}, lineage=True)
    assert found["freshness"].state == "failed"
    assert found["freshness"].said == "1 deviations: prices/refresh has freshness ready, not stale"
    right = httpx.Response(200, json={"flows": 3, "agrees": True, "deviations": []})
    assert (await examined({"lineage.test": right}, lineage=True))["freshness"].state == "ok"
    assert "freshness" not in await examined({"lineage.test": right})
