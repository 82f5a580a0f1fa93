"""`supersede` and `restatements`."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
from runtide_schemas.vocabulary import instance_id_of

from tests.unit.cli.conftest import Cli

ID = str(uuid4())
PRICES = instance_id_of("acme", "prices")
ABOUT: dict[str, Any] = {
    "restatement_id": ID, "instance_name": "prices", "flow_kind": "refresh", "first_data_date": "2026-01-05",
    "last_data_date": "2026-01-07", "reason": "splits corrected", "versions_total": 1, "tainted_total": 2,
}  # fmt: skip
DAYS = ("--from", "2026-01-05", "--until", "2026-01-07", "--reason", "splits corrected")


def test_supersede_says_how_far_it_reaches_and_what_to_do_next(cli: Cli) -> None:
    cli.routes[f"POST lineage.test /v1/instances/{PRICES}/supersede"] = httpx.Response(201, json=ABOUT)
    result = cli("supersede", "prices", *DAYS, "--command-id", "c-1")
    assert result.exit_code == 0
    assert "1 versions superseded, 2 runs tainted" in result.stdout
    assert f"runtide plan --repair {ID}" in result.stdout
    [asked] = cli.asked
    assert asked.headers["idempotency-key"] == "c-1"
    assert json.loads(asked.content) == {
        "first_data_date": "2026-01-05", "last_data_date": "2026-01-07", "reason": "splits corrected",
    }  # fmt: skip


def test_supersede_suggests_a_near_name_and_needs_both_days(cli: Cli) -> None:
    unknown = httpx.Response(404, json={"code": "UNKNOWN_INSTANCE", "detail": "no instance pricse"})
    cli.routes[f"POST lineage.test /v1/instances/{instance_id_of('acme', 'pricse')}/supersede"] = unknown
    cli.routes["GET lineage.test /v1/instances"] = httpx.Response(200, json={"instances": [{"name": "prices"}]})
    result = cli("supersede", "pricse", *DAYS)
    assert result.exit_code == 1
    assert "did you mean 'prices'?" in result.stderr
    assert cli("supersede", "prices", "--reason", "x").exit_code == 2


def test_a_taken_command_id_exits_3(cli: Cli) -> None:
    taken = httpx.Response(409, json={"code": "COMMAND_CONFLICT", "detail": "declared another restatement"})
    cli.routes[f"POST lineage.test /v1/instances/{PRICES}/supersede"] = taken
    assert cli("supersede", "prices", *DAYS).exit_code == 3


def test_restatements_are_listed_and_of_a_run_with_the_path_to_it(cli: Cli) -> None:
    mark = {"path_names": ["prices", "momentum", "book"]}
    cli.routes["GET lineage.test /v1/restatements"] = httpx.Response(
        200, json={"restatements": [{**ABOUT, "tainted": [mark]}], "cursor": "abc"}
    )
    result = cli("restatements", "--run", ID)
    assert "prices/refresh\t2026-01-05 to 2026-01-07\t1\t2" in result.stdout
    assert "prices → momentum → book" in result.stdout
    assert "--cursor abc" in result.stderr
    assert dict(cli.asked[0].url.params) == {"limit": "50", "run_id": ID}


def test_one_restatement_lists_the_runs_that_it_taints(cli: Cli) -> None:
    mark = {"run_id": ID, "attempt": 1, "instance_name": "book", "flow_kind": "backtest", "status": "completed",
            "path_names": ["prices", "book"]}  # fmt: skip
    body = {**ABOUT, "tainted": [mark]}
    cli.routes[f"GET lineage.test /v1/restatements/{ID}"] = httpx.Response(200, json=body)
    result = cli("restatements", ID)
    assert "prices/refresh, 2026-01-05 to 2026-01-07: splits corrected (1 versions, 2 tainted runs)" in result.stdout
    assert f"{ID}\t1\tbook/backtest\tcompleted\t-\tprices → book" in result.stdout
    assert cli.json("restatements", ID) == body


def test_a_repair_is_a_list_of_batches_and_what_is_left_out_by_name(cli: Cli) -> None:
    def rerun(name: str) -> dict[str, Any]:
        return {"instance_name": name, "flow_kind": "refresh", "mode": "overwrite", "parameters": {}, "instead_of": ID}

    body = {
        **ABOUT, "source": "prices/refresh runs again first", "batches": [[rerun("prices")], [rerun("b"), rerun("c")]],
        "not_again": [{"instance_name": "book", "run_id": ID, "reason": "history, superseded by run 7"}],
    }  # fmt: skip
    cli.routes[f"POST lineage.test /v1/restatements/{ID}/plan"] = httpx.Response(200, json=body)
    result = cli("plan", "--repair", ID, "--history")
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()[3:]] == [
        ["1", "prices/refresh"], ["2", "b/refresh"], ["2", "c/refresh"],
    ]  # fmt: skip
    assert f"not again: book run {ID}: history, superseded by run 7" in result.stderr
    assert json.loads(cli.asked[0].content) == {"history": True}
    assert cli("plan", "--repair", ID, "--json").exit_code == 0
    assert [cli("plan").exit_code, cli("plan", "prices", "--repair", ID).exit_code] == [2, 2]
