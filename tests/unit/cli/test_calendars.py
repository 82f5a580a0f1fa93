"""`runtide calendars`: what it asks of lineage, and what it shows."""

from __future__ import annotations

import json

import httpx

from tests.unit.cli.conftest import Cli

XNYS = {
    "code": "XNYS", "zone": "America/New_York", "first_day": "2005-01-01", "last_day": "2026-12-31", "days_left": 400,
    "ends_soon": False, "source": "exchange_calendars 4", "synced_by": "dev@acme",
}  # fmt: skip
ENDING = {**XNYS, "code": "XLON", "days_left": 12, "ends_soon": True}


def known(cli: Cli, *rows: dict[str, object]) -> None:
    cli.routes["GET lineage.test /v1/calendars"] = httpx.Response(200, json={"calendars": list(rows), "as_of": "x"})


def sent(cli: Cli) -> list[tuple[str, str]]:
    return [(request.method, request.url.path) for request in cli.asked]


def test_the_list_says_which_one_ends_soon_and_what_to_do(cli: Cli) -> None:
    known(cli, XNYS, ENDING)
    result = cli("calendars", "list")
    assert result.stdout.splitlines()[1].startswith("XNYS\tAmerica/New_York\t2005-01-01\t2026-12-31\t400")
    assert "XLON ends on 2026-12-31: runtide calendars sync XLON" in result.stderr


def test_sync_computes_and_gives_the_sessions_to_lineage(cli: Cli) -> None:
    known(cli)
    cli.routes["PUT lineage.test /v1/calendars/XNYS"] = httpx.Response(201, json={})
    result = cli("calendars", "sync", "XNYS", "--from", "2025-01-01", "--to", "2025-12-31")
    assert result.exit_code == 0, result.stderr
    assert "XNYS: 250 sessions from 2025-01-01 to 2025-12-31, days of America/New_York" in result.stdout
    body = json.loads(cli.asked[-1].content)
    assert body["sessions"][:2] == ["2025-01-02", "2025-01-03"]
    assert "2025-01-09" not in body["sessions"]


def test_sync_without_codes_means_those_that_lineage_has_and_leaves_alone_what_is_known_for_long(cli: Cli) -> None:
    known(cli, XNYS, ENDING)
    cli.routes["PUT lineage.test /v1/calendars/XLON"] = httpx.Response(200, json={})
    assert cli.json("calendars", "sync", "--if-ends-within", "180") == {"synced": ["XLON"], "kept": ["XNYS"]}
    assert sent(cli) == [("GET", "/v1/calendars"), ("PUT", "/v1/calendars/XLON")]


def test_sync_of_an_unknown_code_changes_nothing_and_exits_2(cli: Cli) -> None:
    known(cli)
    result = cli("calendars", "sync", "XNYZ")
    assert result.exit_code == 2
    assert "'XNYS'" in result.stderr
    assert cli("calendars", "sync", "24/7").exit_code == 2
    assert {method for method, _ in sent(cli)} == {"GET"}


def test_a_closure_an_early_close_and_taking_one_back(cli: Cli) -> None:
    for route in ("POST lineage.test /v1/calendars/XNYS/closures", "POST lineage.test /v1/calendars/XNYS/early-closes",
                  "DELETE lineage.test /v1/calendars/XNYS/closures/2025-01-09"):  # fmt: skip
        cli.routes[route] = httpx.Response(201, json={})
    assert cli("calendars", "close", "XNYS", "2025-01-09", "--reason", "day of mourning").exit_code == 0
    assert json.loads(cli.asked[-1].content) == {"day": "2025-01-09", "reason": "day of mourning"}
    assert cli("calendars", "early-close", "XNYS", "2025-07-03", "13:00", "--reason", "holiday").exit_code == 0
    assert json.loads(cli.asked[-1].content) == {"day": "2025-07-03", "closes_at": "13:00", "reason": "holiday"}
    assert cli("calendars", "reopen", "XNYS", "2025-01-09").exit_code == 0
    assert cli("calendars", "close", "XNYS", "2025-01-09").exit_code == 2  # nobody would know why


def test_show_lists_sessions_and_what_was_entered(cli: Cli) -> None:
    closure = {"day": "2025-01-09", "kind": "closure", "reason": "day of mourning", "actor": "ana@acme",
               "entered_at": "2025-01-08T20:00:00Z"}  # fmt: skip
    cli.routes["GET lineage.test /v1/calendars/XNYS"] = httpx.Response(
        200,
        json={**XNYS, "sessions": ["2024-12-24"], "early_closes": {"2024-12-24": "13:00:00"}, "entered": [closure]},
    )
    result = cli("calendars", "show", "XNYS", "--from", "2024-12-23", "--to", "2025-01-10")
    assert dict(cli.asked[0].url.params) == {"from": "2024-12-23", "to": "2025-01-10"}
    assert "Tue 2024-12-24  closes early, 13:00:00" in result.stdout
    assert "2025-01-09 closure (day of mourning), entered by ana@acme" in result.stdout
