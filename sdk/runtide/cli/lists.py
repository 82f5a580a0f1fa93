"""`runtide requests`, `runs`, `run` and `instances`: what the services know, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import typer
from runtide_schemas.vocabulary import RequestStatus, RunStatus, RunType

from runtide.cli.output import Output, cell, moment
from runtide.cli.session import Exit, Json, Limit, rows_of, with_client
from runtide.client import Runtide
from runtide.errors import ApiError, NotFound, Unavailable

Cursor = Annotated[str | None, typer.Option(help="Where the previous page ended.")]
Instance = Annotated[str | None, typer.Option(help="Only of this instance (name or id).")]


def requests(
    status: Annotated[RequestStatus | None, typer.Option(help="Only these.")] = None,
    instance: Instance = None,
    of: Annotated[
        str | None, typer.Option(metavar="ID", help="Only those that were asked for this recursive request.")
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """The newest requests: what was asked for, and what became of it."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        body = await client.requests(limit=limit, cursor=cursor, status=status, instance=instance, parent_run_id=of)
        columns = (
            "run_id",
            "instance_name",
            "flow_kind",
            "status",
            "code",
            "gate",
            "trigger",
            "occurred_at",
            "message",
        )
        _print(out, body, "requests", columns, empty="no requests")
        return None

    with_client(out, command)


def runs(
    instance: Instance = None,
    run_type: Annotated[RunType | None, typer.Option(help="Only of this type.")] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only these.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """The newest runs."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        body = await client.runs(limit=limit, cursor=cursor, instance=instance, run_type=run_type, status=status)
        columns = (
            "run_id", "instance_name", "run_type", "status", "sub_state", "progress_pct", "trigger", "started_at",
            "duration_seconds",
        )  # fmt: skip
        _print(out, body, "runs", columns, empty="no runs")
        return None

    with_client(out, command)


def run(run_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the run.")], as_json: Json = False) -> None:
    """Everything about a run; about its request while (or if) it is only that."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        attached = client.attach(run_id)
        try:
            body = await client.api.get("run_tracker", f"/v1/runs/{attached.id}")
        except NotFound as error:
            if error.code != "NOT_A_RUN_YET" and not client.settings.has("submission"):
                raise
            body = await client.api.get("submission", f"/v1/requests/{attached.id}")
        body = {**body, "attempts": attempts} if (attempts := await _attempts(client, attached.id)) else body
        decisions = await _decisions(client, attached.id)
        body = {**body, "decisions": decisions} if decisions else body
        if as_json:
            out.json(body)
            return None
        out.fields({name: value for name, value in body.items() if not isinstance(value, dict | list)})
        for name in ("parameters", "metrics", "artifacts", "input_versions", "error", "blockers"):
            _section(out, name, body.get(name))
        _section(out, "attempts", [_attempt(one, attached.id) for one in attempts])
        _section(out, "decisions", [_decision(one) for one in decisions])
        return None

    with_client(out, command)


def instances(limit: Limit = 200, cursor: Cursor = None, as_json: Json = False) -> None:
    """The instances of the tenant and how fresh they are."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        body = await client.instances(limit=limit, cursor=cursor)
        if as_json:
            out.json(body)
            return None
        rows = [
            (
                row.get("name"),
                row.get("instance_type"),
                row.get("status"),
                _flows(row),
                _reasons(row),
                row.get("instance_id"),
            )
            for row in rows_of(body, "instances")
        ]
        columns = ("name", "instance_type", "status", "flows", "why", "instance_id")
        out.table(columns, rows, empty="no instances; register some with: runtide apply platform.yaml")
        return None

    with_client(out, command)


def _print(out: Output, body: dict[str, Any], name: str, columns: Sequence[str], *, empty: str) -> None:
    if out.as_json:
        out.json(body)
        return
    rows = [
        [moment(row.get(column)) if column.endswith("_at") else row.get(column) for column in columns]
        for row in rows_of(body, name)
    ]
    out.table(columns, rows, empty=empty)
    if body.get("cursor"):
        out.note(f"more with: --cursor {body['cursor']}", style="dim")


def _flows(row: dict[str, Any]) -> str:
    return ", ".join(f"{flow.get('kind')}: {flow.get('status')}" for flow in rows_of(row, "flows"))


def _reasons(row: dict[str, Any]) -> str:
    return "; ".join(dict.fromkeys(str(flow["reason"]) for flow in rows_of(row, "flows") if flow.get("reason"))) or "-"


async def _attempts(client: Runtide, run_id: UUID) -> list[dict[str, Any]]:
    """The chain of retries that the run is one of, each with how it ended; nothing where it is the only one."""
    if not client.settings.has("submission"):
        return []
    try:
        found = rows_of(await client.api.get("submission", f"/v1/requests/{run_id}"), "attempts")
    except (ApiError, Unavailable):
        return []
    return [{**one, "run_status": await _run_status(client, one)} for one in found]


async def _run_status(client: Runtide, attempt: dict[str, Any]) -> str | None:
    """How its run is; None: it is none yet, or nobody can be asked."""
    try:
        return cell((await client.api.get("run_tracker", f"/v1/runs/{attempt.get('run_id')}")).get("status"))
    except (ApiError, Unavailable):
        return None


def _attempt(one: dict[str, Any], shown: UUID) -> str:
    """`run … failed`, `retry 1: run … (this one) parked, not before …, because the run before ended as timed_out`."""
    number, status = one.get("number"), one.get("run_status") or one.get("status")
    this = " (this one)" if one.get("run_id") == str(shown) else ""
    said = f"run {one.get('run_id')}{this} {status}"
    if not number:
        return said
    waits = "" if one.get("run_status") else f", not before {moment(one.get('not_before'))}"
    return f"retry {number}: {said}{waits}, because the run before ended as {one.get('reason')}"


async def _decisions(client: Runtide, run_id: UUID) -> list[dict[str, Any]]:
    """What the gate answered, as far as lineage can be asked."""
    if not client.settings.has("lineage"):
        return []
    try:
        return rows_of(await client.decisions(run_id), "decisions")
    except (ApiError, Unavailable):
        return []


def _decision(one: dict[str, Any]) -> str:
    """`2026-… parked: waits for prices (stale)`."""
    said = one.get("said", {})
    answer = str(one.get("answer", "")).removeprefix("request.")
    blockers = ", ".join(f"{blocker.get('name')} ({blocker.get('status')})" for blocker in rows_of(said, "blockers"))
    aside = said.get("message") or said.get("warning") or (f"waits for {blockers}" if blockers else "")
    return f"{moment(one.get('decided_at'))} {answer}{f': {aside}' if aside else ''}"


def _section(out: Output, name: str, value: Any) -> None:
    if not value:
        return
    out.line()
    out.line(name.replace("_", " "))
    items = value if isinstance(value, dict) else {str(index): item for index, item in enumerate(value, start=1)}
    out.fields({f"  {key}": item for key, item in items.items()})
