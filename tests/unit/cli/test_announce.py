"""`runtide announce`."""

from __future__ import annotations

import json

import httpx
import pytest
from runtide.cli import announce

from tests.unit.cli.conftest import Cli

ROUTE = "POST lineage.test /v1/ops/announce"


def test_everything_is_said_again_portion_by_portion(cli: Cli) -> None:
    def serve(sent: httpx.Request) -> httpx.Response:
        first = json.loads(sent.content)["cursor"] is None
        return httpx.Response(200, json={"announced": 500 if first else 7, "cursor": "acme|1" if first else None})

    cli.routes[ROUTE] = serve
    result = cli("announce", "lineage", "--tenant", "acme", "--since", "2025-01-15")
    assert result.stdout == "lineage said 507 snapshots again\n"
    asked = {"after_restore": False, "tenant": "acme", "since": "2025-01-15T00:00:00Z"}
    assert [json.loads(sent.content) for sent in cli.asked] == [
        {**asked, "cursor": None}, {**asked, "cursor": "acme|1"},
    ]  # fmt: skip


def test_a_restored_service_that_still_reads_is_waited_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce, "AGAIN_SECONDS", 0.0)
    answers = [
        httpx.Response(409, json={"code": "STILL_READING", "detail": "runs-status has 7 records to read"}),
        httpx.Response(200, json={"announced": 3, "cursor": None}),
    ]
    cli.routes[ROUTE] = lambda sent: answers.pop(0)
    result = cli("announce", "lineage", "--after-restore")
    assert "runs-status has 7 records to read" in result.stderr
    assert result.stdout == "lineage said 3 snapshots again\n"
    assert json.loads(cli.asked[-1].content)["after_restore"] is True
