"""`runtide delay-source`."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import httpx
from runtide_schemas.vocabulary import instance_id_of

from tests.unit.cli.conftest import Cli

ROUTE = f"POST lineage.test /v1/instances/{instance_id_of('acme', 'prices')}/delay"
DELAYED = {"status": "stale_source_delayed", "source_delay": {"until": None, "reason": "late"}}


def test_a_source_is_late_until_the_data_has_caught_up_or_until_a_time(cli: Cli) -> None:
    cli.routes[ROUTE] = httpx.Response(200, json=DELAYED)
    result = cli("delay-source", "prices", "--reason", "late")
    assert result.stdout == "prices: delayed until the data has caught up; it is stale_source_delayed\n"
    assert json.loads(cli.asked[-1].content) == {"until": None, "reason": "late"}
    cli("delay-source", "prices", "--until", "2025-01-16T01:00")
    assert json.loads(cli.asked[-1].content)["until"] == "2025-01-16T01:00:00+00:00"


def test_a_delay_is_taken_back_by_a_time_that_is_over(cli: Cli) -> None:
    cli.routes[ROUTE] = httpx.Response(200, json={"status": "stale", "source_delay": None})
    assert "no longer delayed; it is stale" in cli("delay-source", "prices", "--over").stdout
    assert datetime.fromisoformat(json.loads(cli.asked[-1].content)["until"]) < datetime.now(UTC)
    assert cli("delay-source", "prices", "--over", "--until", "2025-01-16").exit_code == 2


def test_an_unknown_instance_is_named_with_near_ones(cli: Cli) -> None:
    cli.routes["GET lineage.test /v1/instances"] = httpx.Response(200, json={"instances": [{"name": "prices"}]})
    result = cli("delay-source", "pricse")
    assert result.exit_code == 1
    assert "did you mean 'prices'?" in result.stderr
