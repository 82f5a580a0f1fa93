"""`runtide schedules`, and the chain of attempts that `runtide run` shows."""

from __future__ import annotations

from typing import Any

import httpx
from runtide_schemas.vocabulary import instance_id_of

from tests.unit.cli.conftest import Cli
from tests.unit.sdk.stories import SETTINGS

FIRST, SECOND = "0f9c2b1e-7c1d-5d5b-8a9e-3f5d8f4f6a01", "5b3a2a52-4f0e-5f7e-9d3e-2c1a0b9d8e02"
PRICES = {
    "name": "prices", "flow_kind": "refresh", "status": "active", "doubt": None,
    "schedule": {"sessions": "XNYS", "at": "18:05", "timezone": "America/New_York", "days_later": 0},
    "next": [{"at": "2025-01-15T23:05:00Z", "data_date": "2025-01-15"}],
    "last": {"planned_for": "2025-01-14T23:05:00Z", "run_id": FIRST, "status": "completed"},
}  # fmt: skip


def answers(cli: Cli, **routes: Any) -> None:
    cli.routes |= {route: httpx.Response(200, json=body) for route, body in routes.items()}


def test_the_list_says_when_next_and_what_became_of_the_last(cli: Cli) -> None:
    doubtful = {**PRICES, "name": "fx", "next": [], "last": None, "doubt": "calendar XFOO ends on 2025-01-01"}
    answers(cli, **{"GET lineage.test /v1/schedules": {"schedules": [PRICES, doubtful], "as_of": "x"}})
    result = cli("schedules", "list")
    row = result.stdout.splitlines()[1].split("\t")
    assert row[:4] == ["prices", "refresh", "XNYS sessions at 18:05 America/New_York", "active"]
    assert "completed" in row[5]
    assert "fx/refresh: calendar XFOO ends on 2025-01-01" in result.stderr


def test_a_schedule_is_paused_and_resumed_by_the_name_of_its_instance(cli: Cli) -> None:
    for how, status in (("pause", "paused"), ("resume", "active")):
        body = {**PRICES, "status": status, "next": []}

        def answer(sent: httpx.Request, body: dict[str, Any] = body) -> httpx.Response:
            assert sent.url.params["flow_kind"] == "refresh"
            return httpx.Response(200, json=body)

        cli.routes[f"POST lineage.test /v1/schedules/{instance_id_of(SETTINGS.tenant, 'prices')}/{how}"] = answer
        assert f"prices/refresh is {status}; next: -" in cli("schedules", how, "prices", "refresh").stdout
    assert cli("schedules", "pause", "nothing").exit_code == 1


def test_an_instance_without_a_schedule_is_told_from_one_that_does_not_exist(cli: Cli) -> None:
    answers(cli, **{"GET lineage.test /v1/instances": {"instances": [{"name": "prices"}], "cursor": None}})
    said = cli("schedules", "pause", "prices").stderr
    assert "prices has no schedule" in said
    assert "did you mean" not in said
    assert "did you mean 'prices'?" in cli("schedules", "pause", "price").stderr


def test_what_does_not_exist_is_named_as_it_was_typed(cli: Cli) -> None:
    meant = str(instance_id_of(SETTINGS.tenant, "nosuch"))
    for command, path in (("why", "/v1/why/"), ("lineage", "/v1/lineage/")):
        problem = {"code": "NOT_FOUND", "detail": f"instance {meant} does not exist"}
        cli.routes[f"GET lineage.test {path}{meant}"] = httpx.Response(404, json=problem)
        said = cli(command, "nosuch").stderr
        assert "instance nosuch does not exist" in said
        assert meant not in said


def test_a_run_shows_the_chain_of_attempts_that_it_is_one_of(cli: Cli) -> None:
    chain = [
        {"number": 0, "run_id": FIRST, "retries": None, "retried_by": SECOND, "status": "launched"},
        {"number": 1, "run_id": SECOND, "retries": FIRST, "retried_by": None, "reason": "timed_out",
         "not_before": "2025-01-15T23:06:00Z", "status": "parked"},
    ]  # fmt: skip
    answers(
        cli,
        **{
            f"GET tracker.test /v1/runs/{FIRST}": {"run_id": FIRST, "status": "failed"},
            f"GET submission.test /v1/requests/{FIRST}": {"run_id": FIRST, "attempts": chain},
        },
    )
    shown = cli("run", FIRST).stdout
    assert f"run {FIRST} (this one) failed" in shown
    assert f"retry 1: run {SECOND} parked, not before 2025-01-15" in shown
    assert "because the run before ended as timed_out" in shown
    assert cli.json("run", FIRST)["attempts"][0]["run_status"] == "failed"
