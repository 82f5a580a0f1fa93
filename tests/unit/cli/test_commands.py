"""The other commands: lists, apply, config, doctor, dead letters."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from runtide import doctor as doctor_module
from runtide.doctor import Finding
from runtide_schemas.vocabulary import instance_id_of

from tests.unit.cli.conftest import Cli
from tests.unit.sdk.stories import RUN, run
from tests.unit.sdk.test_platform import GOOD
from tests.unit.sdk.test_registration import lineage

NO_RUN_YET = httpx.Response(404, json={"code": "NOT_A_RUN_YET", "detail": "see /v1/requests"})


def test_lists_are_tab_separated_where_nobody_looks(cli: Cli) -> None:
    row = {"run_id": str(RUN), "instance_name": "momentum", "run_type": "BacktestRun", "status": "completed"}
    cli.routes["GET tracker.test /v1/runs"] = httpx.Response(200, json={"runs": [row], "cursor": "abc"})
    result = cli("runs", "--status", "completed", "-n", "1")
    header, line = result.stdout.splitlines()
    assert header.startswith("run_id\tinstance_name")
    assert line.split("\t")[:4] == [str(RUN), "momentum", "BacktestRun", "completed"]
    assert "--cursor abc" in result.stderr
    assert dict(cli.asked[0].url.params) == {"limit": "1", "status": "completed"}


def test_lists_as_json_are_the_services_answer(cli: Cli) -> None:
    body = {"requests": [], "cursor": None, "as_of": "2025-01-15T12:00:00Z"}
    cli.routes["GET submission.test /v1/requests"] = httpx.Response(200, json=body)
    assert cli.json("requests") == body


def test_run_shows_the_request_while_there_is_no_run(cli: Cli) -> None:
    cli.routes[f"GET tracker.test /v1/runs/{RUN}"] = NO_RUN_YET
    cli.routes[f"GET submission.test /v1/requests/{RUN}"] = httpx.Response(
        200, json={"run_id": str(RUN), "status": "parked", "blockers": [{"name": "prices"}]}
    )
    result = cli("run", str(RUN))
    assert "status  parked" in result.stdout
    assert "prices" in result.stdout


def test_run_shows_metrics_and_artifacts(cli: Cli) -> None:
    snapshot = run("completed", 4, metrics={"sharpe_ratio": 1.5}, artifacts={"trades": "s3://runs/x/t.parquet"})
    cli.routes[f"GET tracker.test /v1/runs/{RUN}"] = httpx.Response(200, content=snapshot.to_json())
    result = cli("run", str(RUN))
    assert "sharpe_ratio  1.5" in result.stdout
    assert "trades  s3://runs/x/t.parquet" in result.stdout


def test_a_run_that_does_not_exist_exits_1(cli: Cli) -> None:
    cli.routes["GET tracker.test /v1/runs"] = httpx.Response(200, json={})
    assert cli("run", str(RUN)).exit_code == 1


def test_instances_say_why(cli: Cli) -> None:
    flows = [{"kind": "refresh", "status": "stale", "reason": "prices is newer"}]
    body = {"instances": [{"name": "momentum", "status": "stale", "flows": flows}]}
    cli.routes["GET lineage.test /v1/instances"] = httpx.Response(200, json=body)
    assert "refresh: stale\tprices is newer" in cli("instances").stdout


GRAPH = {
    "center_id": "m", "direction": "both", "max_depth": 2,
    "nodes": [
        {"id": "p", "name": "prices", "type": "DatasetInstance", "status": "ready", "layer": 0, "order": 0},
        {"id": "r", "name": "rates", "type": None, "status": "not_initialized", "layer": 0, "order": 1},
        {"id": "m", "name": "momentum", "type": "SignalInstance", "status": "stale", "layer": 1, "order": 0},
        {"id": "b", "name": "book", "type": "BacktestInstance", "status": "ready", "layer": 2, "order": 0},
        {"id": "o", "name": "optimizer", "type": "Optimizer", "status": "ready", "layer": 2, "order": 1},
        {"id": "k", "name": "risk", "type": "DatasetInstance", "status": "error", "layer": 3, "order": 0},
    ],
    "edges": [
        {"source": source, "target": target, "kind": "data_dependency"}
        for source, target in (("r", "m"), ("p", "m"), ("m", "o"), ("m", "b"), ("b", "k"), ("o", "k"), ("p", "m"))
    ],
}  # fmt: skip


def test_lineage_is_a_tree_in_the_order_that_the_service_gives(cli: Cli) -> None:
    path = f"/v1/lineage/{instance_id_of('acme', 'momentum')}"
    cli.routes[f"GET lineage.test {path}"] = httpx.Response(200, json=GRAPH)
    assert cli("lineage", "momentum", "--direction", "both", "--depth", "2").stdout.splitlines() == [
        "momentum stale SignalInstance",
        "reads",
        "├── prices ready DatasetInstance",
        "└── rates not_initialized not registered",
        "is read by",
        "├── book ready BacktestInstance",
        "│   └── risk error DatasetInstance",
        "└── optimizer ready Optimizer",
        "    └── risk error DatasetInstance (see above)",
    ]
    assert dict(cli.asked[0].url.params) == {"direction": "both", "max_depth": "2"}
    assert cli.json("lineage", "momentum") == GRAPH
    assert cli("lineage", "momentum", "--direction", "sideways").exit_code == 2


def test_an_instance_that_stands_alone_says_so_and_a_typo_suggests_near_names(cli: Cli) -> None:
    path = f"/v1/lineage/{instance_id_of('acme', 'prices')}"
    alone = {"center_id": "p", "nodes": GRAPH["nodes"][:1], "edges": []}
    cli.routes[f"GET lineage.test {path}"] = httpx.Response(200, json=alone)
    cli.routes["GET lineage.test /v1/instances"] = httpx.Response(200, json={"instances": [{"name": "prices"}]})
    assert "nothing is connected to it" in cli("lineage", "prices").stdout
    result = cli("lineage", "pricse")
    assert result.exit_code == 1
    assert "did you mean 'prices'?" in result.stderr


WHY = {
    "sentence": "book/refresh is stale since 2025-01-15 12:00:00Z: momentum/refresh is stale itself",
    "chain": [
        {"at": "2025-01-15T11:59:00Z", "sentence": "ana@acme asked for run r1 of prices/refresh", "rule": None},
        {"at": "2025-01-15T12:00:00Z", "sentence": "book/refresh turned from ready to stale", "rule": 5,
         "message_id": "m1"},
    ],
    "version": {"version_id": "v1", "run_id": "r0", "made_at": "2025-01-14T12:00:00Z", "verified_at": None},
    "run": {"run_id": "r2", "trigger": "upstream", "actor": "system:lineage", "parent_actor": "ana@acme"},
    "requests": [{"run_id": "r3", "actor": "bob@acme", "blockers": [{"name": "momentum", "status": "stale"}]}],
}  # fmt: skip


def test_why_tells_the_chain_as_sentences(cli: Cli) -> None:
    path = f"/v1/why/{instance_id_of('acme', 'book')}"
    cli.routes[f"GET lineage.test {path}"] = httpx.Response(200, json=WHY)
    assert cli("why", "book", "refresh", "--at", "2025-01-15").stdout.splitlines() == [
        WHY["sentence"],
        "  2025-01-15 11:59:00Z ana@acme asked for run r1 of prices/refresh",
        "  2025-01-15 12:00:00Z book/refresh turned from ready to stale (rule 5) [m1]",
        "version v1, made by run r0 at 2025-01-14 12:00:00Z",
        "run r2 is open (upstream), asked for by ana@acme",
        "request r3 of bob@acme waits for momentum (stale)",
    ]
    assert dict(cli.asked[0].url.params) == {"at": "2025-01-15T00:00:00+00:00", "flow_kind": "refresh"}
    assert cli.json("why", "book") == WHY


def node(name: str, action: str, reason: str, because: str, seconds: float | None = None) -> dict[str, object]:
    return {"name": name, "action": action, "reason": reason, "because": because, "expected_seconds": seconds}


PLANNED = {
    "plan_id": str(RUN), "instance_id": str(instance_id_of("acme", "book")), "instance_name": "book",
    "flow_kind": "refresh", "skip_if_ready": False, "is_possible": True, "runs": 2,
    "batches": [[node("prices/refresh", "run", "stale", "its data is old", 30)],
                [node("book/refresh", "run", "target", "it was asked for", 5)]],
    "aside": [node("rates/refresh", "skip", "ready", "it is ready")],
    "blast_radius": [{"name": "risk/refresh", "effect": "refresh"}, {"name": "report/refresh", "effect": "stale"}],
    "expected_seconds": 35, "at_least_seconds": 35, "critical_path": ["prices/refresh", "book/refresh"],
}  # fmt: skip


def test_plan_shows_batches_what_is_left_out_and_what_follows(cli: Cli) -> None:
    cli.routes["POST lineage.test /v1/plan"] = httpx.Response(201, json=PLANNED)
    assert cli("plan", "book", "refresh").stdout.splitlines() == [
        "batch\tflow\taction\twhy\texpected",
        "1\tprices/refresh\trun\tstale: its data is old\t30 s",
        "2\tbook/refresh\trun\ttarget: it was asked for\t5 s",
        "-\trates/refresh\tskip\tready: it is ready\t-",
        "2 runs in 2 batches, about 35 s along prices/refresh → book/refresh",
        "refreshes itself below them: risk/refresh",
        "becomes stale below them: report/refresh",
        f"run it with: runtide submit --plan {RUN}",
    ]
    assert json.loads(cli.asked[0].content) == {"instance": "book", "flow_kind": "refresh", "skip_if_ready": False}
    assert cli.json("plan", "book") == PLANNED


def test_a_plan_that_can_not_be_run_exits_3_and_says_so(cli: Cli) -> None:
    blocked = {**PLANNED, "is_possible": False, "expected_seconds": None}
    cli.routes["POST lineage.test /v1/plan"] = httpx.Response(201, json=blocked)
    result = cli("plan", "book")
    assert result.exit_code == 3
    assert "at least 35 s; not every flow has run yet" in result.stdout
    assert "stands in the way" in result.stdout


def test_run_shows_what_the_gate_answered(cli: Cli) -> None:
    cli.routes[f"GET tracker.test /v1/runs/{RUN}"] = httpx.Response(200, content=run("completed", 4).to_json())
    said = {"blockers": [{"name": "prices", "status": "stale"}]}
    decisions = [
        {"answer": "request.parked", "decided_at": "2025-01-15T12:00:00Z", "said": said},
        {"answer": "request.admitted", "decided_at": "2025-01-15T13:00:00Z", "said": {"warning": "forced although …"}},
    ]
    cli.routes[f"GET lineage.test /v1/decisions/{RUN}"] = httpx.Response(200, json={"decisions": decisions})
    shown = cli("run", str(RUN)).stdout
    assert "2025-01-15 12:00:00Z parked: waits for prices (stale)" in shown
    assert "2025-01-15 13:00:00Z admitted: forced although …" in shown
    assert cli.json("run", str(RUN))["decisions"] == decisions


def test_apply_registers_and_again_does_nothing(cli: Cli, tmp_path: Path) -> None:
    cli.log.answers = lineage
    file = tmp_path / "platform.yaml"
    file.write_text(GOOD.split("  - name: model")[0], encoding="utf-8")
    planned = cli("apply", str(file), "--dry-run")
    assert "prices\tDatasetInstance\tnew" in planned.stdout
    assert cli.log.sent == []
    assert "2 registered, 0 unchanged" in cli("apply", str(file)).stdout
    assert "0 registered, 2 unchanged" in cli("apply", str(file)).stdout
    assert [row["change"] for row in cli.json("apply", str(file))["planned"]] == ["unchanged", "unchanged"]


def test_apply_tells_every_problem_before_anything_is_sent(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "platform.yaml"
    file.write_text(GOOD.replace("owner:", "ownr:").replace("on_upstream:", "on_upstrem:"), encoding="utf-8")
    result = cli("apply", str(file))
    assert result.exit_code == 2
    assert [line.split(": ")[0].rpartition(":")[2] for line in result.stderr.splitlines()] == ["5", "14"]
    assert cli.log.sent == []
    assert cli("apply", "nowhere.yaml").exit_code == 2


def test_config_masks_the_token_and_names_the_file_it_read(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / ".runtide").mkdir()
    text = "RUNTIDE_TENANT=acme\nRUNTIDE_TOKEN=a-long-secret-token-1234\n"
    (tmp_path / ".runtide" / "stack.env").write_text(text, encoding="utf-8")
    result = cli("config")
    assert "a-long-secret-token-1234" not in result.stdout
    assert "stack.env was read for what the environment does not set" in result.stdout
    assert cli.json("config")["settings"]["RUNTIDE_TENANT"]["value"] == "acme"


def test_a_missing_configuration_exits_2_and_says_what_to_set(cli: Cli) -> None:
    result = cli("config")
    assert result.exit_code == 2
    assert "RUNTIDE_TENANT is not set" in result.stderr


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warning", 0), ("failed", 1)])
def test_doctor_exits_1_when_something_needs_you(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, state: doctor_module.State, code: int
) -> None:
    async def examined(_: object, **__: object) -> list[Finding]:
        return [Finding("kafka", state, "as it is", "do this")]

    monkeypatch.setenv("RUNTIDE_TENANT", "acme")
    monkeypatch.setattr(doctor_module, "examine", examined)
    result = cli("doctor")
    assert result.exit_code == code
    assert "kafka: as it is" in result.stdout
    assert "→ do this" in result.stdout


def test_dead_letters_of_every_service_in_one_list(cli: Cli) -> None:
    letter = {"id": 7, "status": "new", "topic": "runs.commands.v1", "reason": "bad JSON", "attempts": 1}
    for host in ("submission.test", "tracker.test", "lineage.test"):
        cli.routes[f"GET {host} /v1/ops/dead-letters"] = httpx.Response(200, json={"dead_letters": [letter]})
    lines = cli("dead-letters", "list").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == ["submission", "run_tracker", "lineage"]
