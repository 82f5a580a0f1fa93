"""`submit`, `watch` and `cancel`: what they print, and the exit codes that scripts rely on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from runtide.cli import submit as submit_module
from runtide.errors import KafkaUnavailable
from runtide_schemas.commands import SubmitRun
from runtide_schemas.message import Message
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.vocabulary import Code

from tests.unit.cli.conftest import Cli
from tests.unit.cli.test_commands import PLANNED
from tests.unit.sdk.stories import RUN, completes, refuses, request, run


def test_submit_sends_what_was_asked_for_and_says_how_to_follow(cli: Cli) -> None:
    cli.log.answers = completes
    result = cli(
        "submit", "model", "train", "-p", "alpha=0.5", "-p", "start=2015-01-02", "-p", "on=true",
        "--gate", "wait", "--smart", "--mode", "overwrite", "--wait-until", "2030-01-01",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    [(command, *_)] = cli.log.sent
    assert isinstance(command, SubmitRun)
    assert command.parameters == {"alpha": 0.5, "start": "2015-01-02", "on": True}
    assert (command.flow_kind, command.gate, command.mode, command.skip_if_ready) == (
        "training", "wait", "overwrite", True,
    )  # fmt: skip
    assert str(command.wait_until) == "2030-01-01 00:00:00+00:00"
    assert "admitted" in result.stdout
    assert "runtide watch " in result.stdout


def test_a_recursive_submission_is_sent_as_such_and_what_it_asked_for_can_be_listed(cli: Cli) -> None:
    cli.log.answers = completes
    assert cli("submit", "momentum", "--gate", "recursive").exit_code == 0
    assert [command.gate for command, *_ in cli.log.sent if isinstance(command, SubmitRun)] == ["recursive"]
    row = {"run_id": "r1", "instance_name": "prices", "status": "launched", "trigger": "upstream"}
    cli.routes["GET submission.test /v1/requests"] = httpx.Response(200, json={"requests": [row]})
    assert "r1\tprices" in cli("requests", "--of", str(RUN)).stdout
    assert cli.asked[-1].url.params["parent_run_id"] == str(RUN)


def test_a_plan_is_submitted_with_what_it_says(cli: Cli) -> None:
    cli.log.answers = completes
    cli.routes[f"GET lineage.test /v1/plan/{RUN}"] = httpx.Response(200, json={**PLANNED, "skip_if_ready": True})
    assert cli("submit", "--plan", str(RUN)).exit_code == 0
    [(command, *_)] = cli.log.sent
    assert isinstance(command, SubmitRun)
    assert (command.instance, command.flow_kind, command.gate) == ("book", "refresh", "recursive")
    assert (command.plan_id, command.skip_if_ready) == (RUN, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("prices", "--plan", str(RUN)), "is of book, not of prices"),
        ((), "name an instance, or a plan with --plan"),
        (("--plan", "tuesday"), "'tuesday' is no plan id"),
    ],
)
def test_a_plan_of_something_else_is_not_sent(cli: Cli, arguments: tuple[str, ...], says: str) -> None:
    cli.routes[f"GET lineage.test /v1/plan/{RUN}"] = httpx.Response(200, json=PLANNED)
    result = cli("submit", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert cli.log.sent == []


def test_submit_that_waits_tells_each_step_and_the_metrics(cli: Cli) -> None:
    cli.log.answers = lambda command: completes(command, artifacts={"equity_curve": "s3://runs/x/e.parquet"})
    result = cli("submit", "momentum", "--wait")
    assert result.exit_code == 0, result.output
    assert "momentum running 40% simulate" in result.stdout
    assert "sharpe_ratio = 1.5" in result.stdout
    assert "equity_curve: s3://runs/x/e.parquet" in result.stdout


def test_json_is_one_line_per_snapshot_and_the_result_at_last(cli: Cli) -> None:
    cli.log.answers = completes
    lines = [json.loads(line) for line in cli("submit", "momentum", "--wait", "--json").stdout.splitlines()]
    assert [line["type"] for line in lines][:3] == ["request.status_changed"] * 3
    assert (lines[-1]["type"], lines[-1]["status"]) == ("result", "completed")


@pytest.mark.parametrize("arguments", [("--wait",), ()])
def test_a_refusal_exits_3_and_prints_the_blockers(cli: Cli, arguments: tuple[str, ...]) -> None:
    cli.log.answers = refuses
    result = cli("submit", "momentum", *arguments)
    assert result.exit_code == 3
    assert "refused: UPSTREAM_NOT_READY: prices is stale" in result.stderr
    assert "blocked by prices: stale (its data is old)" in result.stderr


def test_a_refusal_as_json_carries_code_and_blockers(cli: Cli) -> None:
    cli.log.answers = refuses
    error = cli.json("submit", "momentum")["error"]
    assert (error["type"], error["code"]) == ("UpstreamNotReady", "UPSTREAM_NOT_READY")
    assert error["blockers"][0]["name"] == "prices"


def test_a_typo_suggests_near_names(cli: Cli) -> None:
    cli.log.answers = lambda command: refuses(command, "UNKNOWN_INSTANCE", "acme has no instance momentun")
    cli.routes["GET lineage.test /v1/instances"] = httpx.Response(200, json={"instances": [{"name": "momentum"}]})
    result = cli("submit", "momentun")
    assert result.exit_code == 3
    assert "did you mean 'momentum'?" in result.stderr


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (request("skipped", 4, message="it is ready"), 0),
        (run("failed", 4), 1),
        (request("launch_failed", 4, code=Code.DEPLOYMENT_NOT_FOUND, message="no such deployment"), 1),
        (request("refused", 4, code=Code.INVALID_COMMAND), 3),
        (run("cancelled", 4), 4),
        (request("cancelled", 4), 4),
        (request("expired", 4), 4),
    ],
)
def test_the_exit_code_of_watch_says_how_it_ended(cli: Cli, end: Message, code: int) -> None:
    if not isinstance(end, RequestStatusChanged):
        cli.log.add(request("launched", 3))
    cli.log.add(end)
    result = cli("watch", str(RUN))
    assert result.exit_code == code, result.output


def test_waiting_too_long_exits_124_and_says_how_to_come_back(cli: Cli) -> None:
    result = cli("submit", "momentum", "--wait", "--timeout", "0.05")
    assert result.exit_code == 124
    assert "it goes on: runtide watch " in result.stderr


def test_an_undecided_request_is_no_failure(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit_module, "DECISION_SECONDS", 0.05)
    result = cli("submit", "momentum")
    assert result.exit_code == 0
    assert "not decided yet" in result.stdout


def test_ctrl_c_detaches_and_says_how_to_come_back(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(submit_module, "follow", interrupted)
    result = cli("submit", "momentum", "--wait", "--command-id", "a command")
    assert result.exit_code == 130
    assert f"detached; the run goes on. Come back with: runtide watch {RUN}" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit",),
        ("submit", "momentum", "-p", "novalue"),
        ("submit", "momentum", "-p", "a=1", "-p", "a=2"),
        ("submit", "momentum", "bake"),
        ("submit", "momentum", "--gate", "sometimes"),
        ("submit", "no such name"),
        ("watch", "not-an-id"),
        ("cancel", "not-an-id"),
        ("nonsense",),
    ],
)
def test_what_is_said_wrongly_exits_2_and_sends_nothing(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).exit_code == 2
    assert cli.log.sent == []


def test_kafka_that_is_away_is_a_sentence_and_no_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise KafkaUnavailable("no broker answers at 127.0.0.1:9092")

    monkeypatch.setattr(cli.log, "publish", away)
    result = cli("submit", "momentum")
    assert result.exit_code == 1
    assert result.stderr.strip() == "no broker answers at 127.0.0.1:9092"


def test_cancel_over_http_says_when_it_is_too_late(cli: Cli) -> None:
    cli.routes[f"POST submission.test /v1/requests/{RUN}/cancel"] = httpx.Response(
        409, json={"code": "TOO_LATE", "detail": "it has completed"}
    )
    result = cli("cancel", str(RUN), "--reason", "wrong universe")
    assert result.exit_code == 1
    assert "TOO_LATE: it has completed" in result.stderr
    assert json.loads(cli.asked[-1].content) == {"reason": "wrong universe"}


def test_cancel_without_http_goes_over_kafka(cli: Cli) -> None:
    assert cli("cancel", str(RUN)).exit_code == 0
    assert cli.log.sent[0][0].type == "run.cancel"


def test_watch_without_an_id_shows_what_moves_until_it_is_told_to_stop(cli: Cli) -> None:
    cli.log.add(request("launched", 3), run("running", 4), at=datetime.now(UTC) + timedelta(minutes=1))
    result = cli("watch", "--timeout", "0.1")
    assert result.exit_code == 0
    assert f"{RUN} momentum running" in result.stdout
