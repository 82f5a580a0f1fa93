"""`/v1/calendars` on a real database: sessions as synced, closures as entered, and who may."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from shared.auth import mint
from shared.settings import AuthSettings
from tests.support.harness import ServiceHarness
from tests.unit.lineage.sessions import XNYS


def body(**changes: Any) -> dict[str, Any]:
    return {
        "zone": XNYS.zone, "first_day": str(XNYS.first), "last_day": str(XNYS.last), "source": "published by NYSE",
        "sessions": [str(day) for day in XNYS.sessions], "early_closes": {"2024-12-24": "13:00:00"}, **changes,
    }  # fmt: skip


@pytest.fixture
async def code(lineage: ServiceHarness) -> str:
    """A calendar of one's own."""
    code = f"X{uuid4().hex[:6].upper()}"
    made = await lineage.http.put(f"/v1/calendars/{code}", json=body())
    assert made.status_code == 201, made.text
    return code


async def test_a_calendar_is_kept_and_shown_with_its_horizon(lineage: ServiceHarness, code: str) -> None:
    shown = (await lineage.http.get(f"/v1/calendars/{code}", params={"from": "2024-12-23", "to": "2024-12-27"})).json()
    assert shown["sessions"] == ["2024-12-23", "2024-12-24", "2024-12-26", "2024-12-27"]
    assert shown["early_closes"] == {"2024-12-24": "13:00:00"}
    assert (shown["zone"], shown["last_day"], shown["source"]) == (XNYS.zone, "2025-12-31", "published by NYSE")
    assert len((await lineage.http.get(f"/v1/calendars/{code}")).json()["sessions"]) == len(XNYS.sessions)
    listed = {one["code"]: one for one in (await lineage.http.get("/v1/calendars")).json()["calendars"]}
    assert listed[code]["ends_soon"] is (listed[code]["days_left"] < 60)


async def test_syncing_again_replaces_the_sessions_and_the_same_again_changes_nothing(
    lineage: ServiceHarness, code: str
) -> None:
    [before] = await lineage.rows("select revision from calendars where code = $1", code)
    assert (await lineage.http.put(f"/v1/calendars/{code}", json=body(source="once more"))).status_code == 200
    [same] = await lineage.rows("select revision, source from calendars where code = $1", code)
    assert same == {**before, "source": "once more"}
    shorter = body(last_day="2025-06-30", sessions=[day for day in body()["sessions"] if day <= "2025-06-30"])
    assert (await lineage.http.put(f"/v1/calendars/{code}", json=shorter)).status_code == 200
    shown = (await lineage.http.get(f"/v1/calendars/{code}")).json()
    assert (shown["last_day"], shown["sessions"][-1]) == ("2025-06-30", "2025-06-30")


async def test_a_closure_says_who_and_why_and_outlives_the_next_sync(lineage: ServiceHarness, code: str) -> None:
    closure = {"day": "2025-01-09", "reason": "day of mourning"}
    assert (await lineage.http.post(f"/v1/calendars/{code}/closures", json=closure)).status_code == 201
    early = {"day": "2025-07-03", "reason": "before the holiday", "closes_at": "13:00"}
    assert (await lineage.http.post(f"/v1/calendars/{code}/early-closes", json=early)).status_code == 201
    await lineage.http.put(f"/v1/calendars/{code}", json=body(early_closes={}))
    shown = (await lineage.http.get(f"/v1/calendars/{code}")).json()
    assert "2025-01-09" not in shown["sessions"]
    assert shown["early_closes"] == {"2025-07-03": "13:00:00"}
    entered = [(one["day"], one["kind"], one["reason"], one["actor"]) for one in shown["entered"]]
    assert entered == [
        ("2025-01-09", "closure", "day of mourning", "dev@acme"),
        ("2025-07-03", "early_close", "before the holiday", "dev@acme"),
    ]
    assert (await lineage.http.delete(f"/v1/calendars/{code}/closures/2025-01-09")).status_code == 200
    assert "2025-01-09" in (await lineage.http.get(f"/v1/calendars/{code}")).json()["sessions"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"zone": "America/New_Yrok"}, "nearest: America/New_York"),
        ({"sessions": []}, "no sessions"),
        ({"sessions": ["2025-01-02", "2025-01-02"]}, "twice"),
        ({"sessions": ["2031-01-02"]}, "outside of 2024-01-01 to 2025-12-31"),
        ({"early_closes": {"2025-01-01": "13:00"}}, "2025-01-01, which is no session"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_what_is_no_calendar_is_refused_by_name(
    lineage: ServiceHarness, code: str, changes: dict[str, Any], says: str
) -> None:
    answer = await lineage.http.put(f"/v1/calendars/{code}", json=body(**changes))
    assert answer.status_code == 422
    assert says in answer.text


@pytest.mark.parametrize(
    ("day", "says"), [("2025-01-11", "is no session"), ("2031-01-10", "is known from 2024-01-01 to 2025-12-31")]
)
async def test_a_day_that_is_no_session_can_not_be_closed(
    lineage: ServiceHarness, code: str, day: str, says: str
) -> None:
    answer = await lineage.http.post(f"/v1/calendars/{code}/closures", json={"day": day, "reason": "x"})
    assert answer.status_code == 422
    assert says in answer.text
    assert (await lineage.http.delete(f"/v1/calendars/{code}/closures/{day}")).status_code == 422


async def test_an_unknown_calendar_is_named_with_the_nearest_and_the_command(
    lineage: ServiceHarness, code: str
) -> None:
    for answer in (
        await lineage.http.get(f"/v1/calendars/{code}Q"),
        await lineage.http.post(f"/v1/calendars/{code}Q/closures", json={"day": "2025-01-09", "reason": "x"}),
    ):
        assert answer.status_code == 404
        assert code in answer.json()["detail"]
        assert f"runtide calendars sync {code}Q" in answer.json()["detail"]


async def test_only_operators_change_calendars(lineage: ServiceHarness, code: str) -> None:
    auth = AuthSettings(hmac_keys=SecretStr(lineage.world.env["RUNTIDE_AUTH_HMAC_KEYS"]))
    token = mint(auth, tenant="acme", actor="ana@acme", scopes=("instances:read", "instances:write"),
                 valid=timedelta(minutes=5))  # fmt: skip
    as_reader = {"headers": {"authorization": f"Bearer {token}"}}
    assert (await lineage.http.get(f"/v1/calendars/{code}", **as_reader)).status_code == 200
    assert (await lineage.http.put(f"/v1/calendars/{code}", json=body(), **as_reader)).status_code == 403
    closure = {"day": "2025-01-09", "reason": "x"}
    assert (await lineage.http.post(f"/v1/calendars/{code}/closures", json=closure, **as_reader)).status_code == 403


async def test_the_days_left_are_a_gauge(lineage: ServiceHarness, code: str) -> None:
    left = (await lineage.http.get(f"/v1/calendars/{code}")).json()["days_left"]
    assert (await lineage.http.get("/v1/ops")).status_code == 200  # a look
    assert f'runtide_calendar_days_left{{calendar="{code}"}} {float(left)}' in (await lineage.http.get("/metrics")).text
