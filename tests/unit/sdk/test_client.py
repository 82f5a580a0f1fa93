"""Submit, follow, result, cancel: over the log in memory, and over HTTP through a mock transport."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from runtide import errors
from runtide.client import Runtide
from runtide_schemas.commands import CancelRun, SubmitRun
from runtide_schemas.message import Message
from runtide_schemas.topics import key_of
from runtide_schemas.vocabulary import Code, FlowKind, instance_id_of, run_id_of

from tests.unit.sdk.memory_log import MemoryLog
from tests.unit.sdk.stories import AT, RUN, SETTINGS, URLS, completes, not_proven, progress, refuses, request, run

Handler = Callable[[httpx.Request], httpx.Response]
WITH_HTTP = replace(SETTINGS, token="a.b.c", **URLS)


def over_kafka(log: MemoryLog) -> Runtide:
    return Runtide(SETTINGS, log=log)


def over_http(handler: Handler, log: MemoryLog | None = None) -> Runtide:
    return Runtide(WITH_HTTP, log=log, transport=httpx.MockTransport(handler))


def problem(status: int, code: str, detail: str, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"title": code, "code": code, "detail": detail, **more})


async def test_the_id_of_a_run_is_known_before_anybody_answers() -> None:
    log = MemoryLog()
    async with over_kafka(log) as client:
        submitted = await client.submit_run("momentum", "refresh", command_id="5f0c")
    [(command, message_id, value)] = log.sent
    assert submitted.id == run_id_of("acme", "5f0c")
    assert message_id == "5f0c"
    assert key_of(command) == str(instance_id_of("acme", "momentum")).encode()
    assert json.loads(value)["actor"] == "ana@acme"
    assert log.closed


async def test_a_command_without_a_token_that_holds_ends_the_wait_by_name() -> None:
    async with over_kafka(MemoryLog(lambda command: [not_proven(command)])) as client:
        asked = await client.submit_run("momentum", "refresh")
        with pytest.raises(errors.Unauthorized, match=r"UNAUTHENTICATED: the token expired.*RUNTIDE_TOKEN"):
            await asked.result(timeout_seconds=10)


async def test_the_refusal_of_somebody_elses_command_is_not_ours() -> None:
    other = SubmitRun(tenant="acme", command_id="another", instance="momentum")
    log = MemoryLog(lambda command: [not_proven(other), *completes(command)])
    async with over_kafka(log) as client:
        assert (await (await client.submit_run("momentum", "backtest")).result(10)).status == "completed"


@pytest.mark.parametrize(
    ("method", "keywords", "kind", "parameters"),
    [
        ("submit_pipeline_run", {"start": date(2025, 1, 2)}, "refresh", {"start": "2025-01-02"}),
        ("submit_experiment_run", {"lookback": 126}, "preview", {"lookback": 126}),
        ("submit_backtest_run", {"parameters": {"start": "2015-01-02"}}, "backtest", {"start": "2015-01-02"}),
        ("submit_portfolio_optimization_run", {"max_weight": 0.1}, "optimize", {"max_weight": 0.1}),
        ("submit_training_run", {"alpha": 1.5}, "training", {"alpha": 1.5}),
        ("submit_inference_run", {"as_of": "2025-01-02"}, "inference", {"as_of": "2025-01-02"}),
        ("submit_monitoring_run", {"window_sessions": 30}, "monitoring", {"window_sessions": 30}),
    ],
)
async def test_each_run_type_has_its_own_submission(
    method: str, keywords: dict[str, Any], kind: str, parameters: dict[str, Any]
) -> None:
    log = MemoryLog()
    async with over_kafka(log) as client:
        await getattr(client, method)("it", gate="wait", **keywords)
    command = log.sent[0][0]
    assert isinstance(command, SubmitRun)
    assert (command.flow_kind, command.parameters, command.gate) == (FlowKind(kind), parameters, "wait")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"mode": "everything"}, "the mode is 'everything'; allowed: incremental, overwrite, preview"),
        ({"gate": "sometimes"}, "allowed: strict, wait, force, recursive"),
        ({"flow_kind": "bake"}, "unknown flow kind 'bake'"),
        ({"parameters": {"x": float("nan")}}, "allowed are finite numbers"),
        ({"plan_id": "tuesday"}, "'tuesday' is no plan id"),
        ({"plan_id": str(RUN), "gate": "force"}, "with plan_id allowed: recursive"),
    ],
)
async def test_what_is_impossible_is_not_sent(asked: dict[str, Any], said: str) -> None:
    log = MemoryLog()
    async with over_kafka(log) as client:
        with pytest.raises(errors.InvalidCommand, match=said.replace("(", r"\(")):
            await client.submit_run("momentum", **asked)
    assert log.sent == []


@pytest.mark.parametrize("gate", ["strict", "recursive"])
async def test_a_plan_is_run_by_the_recursive_gate(gate: str) -> None:
    log = MemoryLog()
    async with over_kafka(log) as client:
        await client.submit_run("momentum", plan_id=RUN, gate=gate)
    command = log.sent[0][0]
    assert isinstance(command, SubmitRun)
    assert (command.plan_id, command.gate) == (RUN, "recursive")


async def test_a_parameter_given_twice_is_refused() -> None:
    async with over_kafka(MemoryLog()) as client:
        with pytest.raises(errors.InvalidCommand, match=r"given twice.*start"):
            await client.submit_backtest_run("b", start="2015-01-02", parameters={"start": "2016-01-04"})


async def test_updates_follow_the_request_and_then_the_run_to_its_end() -> None:
    async with over_kafka(MemoryLog(completes)) as client:
        submitted = await client.submit_backtest_run("momentum")
        seen = [(update.status, update.progress_pct) async for update in submitted.updates()]
        result = await submitted.result()
    assert seen == [
        ("requested", None), ("admitted", None), ("launched", None), ("pending", None), ("running", None),
        ("running", 40), ("completed", 100),
    ]  # fmt: skip
    assert result.metrics == {"sharpe_ratio": 1.5}


async def test_only_what_is_about_the_run_since_it_was_asked_for_is_read() -> None:
    log = MemoryLog(completes)
    async with over_kafka(log) as client:
        submitted = await client.submit_run("momentum")
        await submitted.result()
    [wish] = log.wishes
    assert wish.key == str(submitted.id).encode()
    assert wish.since is not None
    assert timedelta(minutes=1) < datetime.now(UTC) - wish.since < timedelta(minutes=3)


async def test_a_run_attached_to_without_http_is_read_from_the_beginning_of_what_is_retained() -> None:
    log = MemoryLog()
    log.add(request("launched", 3), run("completed", 4), at=AT)
    async with over_kafka(log) as client:
        result = await client.attach(RUN).result(timeout_seconds=5)
    assert result.status == "completed"


async def test_a_run_attached_to_with_http_starts_from_the_snapshots() -> None:
    log = MemoryLog()

    def services(sent: httpx.Request) -> httpx.Response:
        assert sent.headers["authorization"] == "Bearer a.b.c"
        snapshot: Message = run("running", 5) if sent.url.host == "tracker.test" else request("launched", 3)
        return httpx.Response(200, json={**json.loads(snapshot.to_json()), "as_of": "2025-01-15T12:00:00Z"})

    async with over_http(services, log) as client:
        updates = client.attach(str(RUN)).updates()
        first = await anext(updates)
        log.add(progress(10, 4), run("failed", 6))
        rest = [update.status async for update in updates]
    assert first.status == "running"
    assert rest == ["failed"]
    assert all(wish.since is not None for wish in log.wishes)


async def test_a_refusal_names_its_blockers() -> None:
    async with over_kafka(MemoryLog(refuses)) as client:
        with pytest.raises(errors.UpstreamNotReady) as refused:
            await (await client.submit_run("momentum")).result()
    assert [b.name for b in refused.value.blockers] == ["prices"]
    assert refused.value.code == "UPSTREAM_NOT_READY"


@pytest.mark.parametrize(
    ("end", "error", "said"),
    [
        (request("refused", 2, code=Code.UNKNOWN_FLOW, message="no such flow"), errors.RunRefused, "UNKNOWN_FLOW"),
        (request("expired", 2, message="after 24 h"), errors.RunExpired, "expired: after 24 h"),
        (request("cancelled", 2), errors.RunCancelled, "was cancelled"),
        (request("launch_failed", 2, code=Code.DEPLOYMENT_NOT_FOUND), errors.RunFailed, "DEPLOYMENT_NOT_FOUND"),
        (run("cancelled", 3), errors.RunCancelled, "was cancelled"),
        (run("failed", 3), errors.RunFailed, "failed"),
    ],
)
async def test_every_other_end_is_an_error_of_its_own(end: Message, error: type[errors.RunEnded], said: str) -> None:
    log = MemoryLog()
    log.add(end)
    async with over_kafka(log) as client:
        with pytest.raises(error, match=said) as ended:
            await client.attach(RUN).result(timeout_seconds=5)
    assert ended.value.run_id == RUN


async def test_skipped_is_a_success_without_a_run() -> None:
    log = MemoryLog()
    log.add(request("skipped", 2, message="it is ready"))
    async with over_kafka(log) as client:
        result = await client.attach(RUN).result(timeout_seconds=5)
    assert (result.status, result.artifacts) == ("skipped", {})


async def test_waiting_ends_in_time_and_the_run_goes_on() -> None:
    log = MemoryLog()
    log.add(request("launched", 3))
    async with over_kafka(log) as client:
        with pytest.raises(errors.WaitTimedOut, match="it goes on"):
            await client.attach(RUN).result(timeout_seconds=0.2)


async def test_of_what_nobody_has_heard_it_is_not_said_that_it_goes_on() -> None:
    async with over_kafka(MemoryLog()) as client:
        with pytest.raises(errors.WaitTimedOut, match="is the id right, and of tenant acme"):
            await client.attach(RUN).result(timeout_seconds=0.01)


async def test_a_command_id_used_for_something_else_is_a_conflict() -> None:
    log = MemoryLog()
    async with over_kafka(log) as client:
        log.answers = completes
        await (await client.submit_run("momentum", command_id="x", parameters={"a": (1, 2)})).result(5)
        log.answers = lambda _: ()
        await (await client.submit_run("momentum", command_id="x", parameters={"a": [1, 2]})).result(5)
        again = await client.submit_run("momentum", command_id="x", parameters={"a": 2})
        with pytest.raises(errors.CommandConflict, match="was used before with parameters"):
            await again.result(5)


@pytest.mark.parametrize(
    ("asked", "said"), [("return-model", "instance 'momentum', now 'return-model'"), ("momentum", None)]
)
async def test_a_command_id_used_for_something_else_is_a_conflict_also_when_that_has_ended(
    asked: str, said: str | None
) -> None:
    """The control: the same request again is told how it ended."""
    before = {"instance_id": instance_id_of("acme", "momentum"), "flow_kind": FlowKind.BACKTEST}
    told = {"tracker.test": run("completed", 5), "submission.test": request("launched", 3, **before)}

    def services(sent: httpx.Request) -> httpx.Response:
        if sent.method == "POST":
            return httpx.Response(200, json={"status": "launched"})
        return httpx.Response(200, content=told[sent.url.host].to_json())

    async with over_http(services) as client:
        submitted = await client.submit_run(asked, command_id="a command")
        if said is None:
            assert (await submitted.result(5)).status == "completed"
        else:
            with pytest.raises(errors.CommandConflict, match=said):
                await submitted.result(5)


@pytest.mark.parametrize("ended", [True, False])
async def test_a_cancel_of_a_run_that_has_ended_is_too_late(ended: bool) -> None:
    seen: list[str] = []

    def services(sent: httpx.Request) -> httpx.Response:
        seen.append(sent.method)
        return httpx.Response(200, content=run("completed" if ended else "running", 5).to_json())

    async with over_http(services) as client:
        if ended:
            with pytest.raises(errors.ApiError, match="is completed; nothing changes") as late:
                await client.cancel(RUN)
            assert late.value.code == "TOO_LATE"
        else:
            await client.cancel(RUN)
    assert seen == (["GET"] if ended else ["GET", "POST"])


async def test_a_cancel_goes_to_the_run_with_its_reason() -> None:
    log = MemoryLog()
    async with over_kafka(log) as client:
        await client.attach(RUN).cancel("wrong universe")
    command = log.sent[0][0]
    assert isinstance(command, CancelRun)
    assert (command.run_id, command.reason) == (RUN, "wrong universe")
    assert key_of(command) == str(RUN).encode()


async def test_a_client_without_kafka_posts_and_polls() -> None:
    seen: list[httpx.Request] = []
    told = {
        "submission.test": iter([request("admitted", 2), request("launched", 3)]),
        "tracker.test": iter([None, run("completed", 5)]),
    }

    def services(sent: httpx.Request) -> httpx.Response:
        seen.append(sent)
        if sent.method == "POST":
            return httpx.Response(202, json={"status": "requested"})
        snapshot = next(told[sent.url.host])
        return (
            problem(404, "NOT_A_RUN_YET", "not yet")
            if snapshot is None
            else httpx.Response(200, content=snapshot.to_json())
        )

    async with over_http(services) as client:
        submitted = await client.submit_run("momentum", command_id="a command")
        result = await submitted.result(timeout_seconds=10)
    assert result.status == "completed"
    assert seen[0].headers["idempotency-key"] == "a command"
    assert seen[0].url.params["wait_seconds"] == "0"
    assert {"tenant", "actor", "type"}.isdisjoint(json.loads(seen[0].content))


async def test_a_refusal_over_http_is_how_the_run_ends_and_a_conflict_is_not() -> None:
    answers = {
        "UPSTREAM_NOT_READY": problem(409, "UPSTREAM_NOT_READY", "prices is stale", run_id=str(RUN)),
        "COMMAND_CONFLICT": problem(409, "COMMAND_CONFLICT", "taken", run_id=str(RUN)),
        "INVALID_COMMAND": problem(422, "INVALID_COMMAND", "gate"),
    }
    async with over_http(lambda sent: answers[sent.headers["idempotency-key"]]) as client:
        submitted = await client.submit_run("momentum", command_id="UPSTREAM_NOT_READY")
        assert isinstance(submitted.id, UUID)
        with pytest.raises(errors.CommandConflict, match="taken"):
            await client.submit_run("momentum", command_id="COMMAND_CONFLICT")
        with pytest.raises(errors.ApiError, match="INVALID_COMMAND"):
            await client.submit_run("momentum", command_id="INVALID_COMMAND")


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (problem(401, "UNAUTHENTICATED", "expired"), errors.Unauthorized, "check RUNTIDE_TOKEN"),
        (problem(404, "NOT_FOUND", "no such run"), errors.NotFound, "no such run"),
        (httpx.Response(502, text="bad gateway"), errors.ApiError, "answered 502"),
    ],
)
async def test_a_problem_over_http_is_an_error_with_its_reason(
    answer: httpx.Response, error: type[Exception], said: str
) -> None:
    async with over_http(lambda _: answer) as client:
        with pytest.raises(error, match=said):
            await client.runs()


async def test_a_service_that_is_away_is_named() -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    async with over_http(away) as client:
        with pytest.raises(errors.ServiceUnavailable, match=r"run_tracker at http://tracker.test/v1/runs"):
            await client.runs()


async def test_what_needs_a_url_names_the_variable() -> None:
    async with over_kafka(MemoryLog()) as client:
        with pytest.raises(errors.ConfigurationError, match="RUNTIDE_LINEAGE_URL is not set"):
            await client.instances()
