"""`runtide supersede` and `runtide restatements`: data that were wrong, what they taint, and what repairs it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from runtide.cli.lists import Cursor, Instance
from runtide.cli.output import Output, moment
from runtide.cli.session import DAY, Exit, Json, Limit, rows_of, suggestion, with_client
from runtide.client import Runtide
from runtide.errors import NotFound


def supersede(
    instance: Annotated[str, typer.Argument(help="Name or id of the instance.")],
    first: Annotated[datetime, typer.Option("--from", formats=DAY, help="The first data date that was wrong.")],
    until: Annotated[datetime, typer.Option("--until", formats=DAY, help="The last one, included.")],
    reason: Annotated[str, typer.Option(help="Why; people will read it.")],
    flow: Annotated[str | None, typer.Option(help="Which flow; default: the main one.")] = None,
    version: Annotated[str | None, typer.Option(help="Only this version; default: all that the dates reach.")] = None,
    command_id: Annotated[
        str | None, typer.Option(help="The same id again is the same restatement; default: a new one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Declare data of some dates wrong: every run that read them, directly or through others, is marked."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        try:
            body = await client.supersede(
                instance,
                first_data_date=first.date(),
                last_data_date=until.date(),
                reason=reason,
                flow_kind=flow,
                version_id=version,
                command_id=command_id,
            )
        except NotFound as error:
            hint = await suggestion(client, instance) if error.code == "UNKNOWN_INSTANCE" else ""
            raise NotFound(f"{error}{hint}", status=404, code=error.code) from None
        if as_json:
            out.json(body)
        out.line(f"{body['versions_total']} versions superseded, {body['tainted_total']} runs tainted")
        out.line(f"see them with: runtide restatements {body['restatement_id']}")
        out.line(f"what repairs it: runtide plan --repair {body['restatement_id']}")
        return None

    with_client(out, command)


def restatements(
    restatement_id: Annotated[str | None, typer.Argument(metavar="ID", help="One of them: the runs it taints.")] = None,
    run: Annotated[str | None, typer.Option(help="Those that taint this run, with the path to it.")] = None,
    instance: Instance = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """What was declared superseded, the newest first."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        if restatement_id is None:
            body = await client.restatements(limit=limit, cursor=cursor, instance=instance, run_id=run)
            show = _list
        else:
            body, show = await client.restatement(restatement_id, limit=limit, cursor=cursor), _one
        if as_json:
            out.json(body)
        else:
            show(out, body)
        return None

    with_client(out, command)


def _list(out: Output, body: dict[str, Any]) -> None:
    rows = [
        (
            row.get("restatement_id"), f"{row.get('instance_name')}/{row.get('flow_kind')}", _days(row),
            row.get("versions_total"), row.get("tainted_total"), moment(row.get("declared_at")), row.get("actor"),
            row.get("reason"), " → ".join(_path(row)) or "-",
        )
        for row in rows_of(body, "restatements")
    ]  # fmt: skip
    columns = ("restatement_id", "flow", "dates", "versions", "tainted", "declared_at", "actor", "reason", "path")
    out.table(columns, rows, empty="nothing was superseded")
    _more(out, body)


def _one(out: Output, body: dict[str, Any]) -> None:
    _head(out, body)
    rows = [
        (
            row.get("run_id"), row.get("attempt"), f"{row.get('instance_name')}/{row.get('flow_kind')}",
            row.get("status"), moment(row.get("ended_at")), " → ".join(row.get("path_names", [])),
        )
        for row in rows_of(body, "tainted")
    ]  # fmt: skip
    out.table(("run_id", "attempt", "flow", "status", "ended_at", "path"), rows, empty="no run has read it")
    _more(out, body)


def show_repair(out: Output, body: dict[str, Any]) -> None:
    """The re-runs in order, and what does not run again."""
    _head(out, body)
    out.line(str(body.get("source")))
    rows = [
        (
            number, f"{row.get('instance_name')}/{row.get('flow_kind')}", row.get("mode"), row.get("parameters"),
            row.get("instead_of"), " → ".join(row.get("path_names", [])) or "-",
        )
        for number, batch in enumerate(body.get("batches", []), start=1)
        for row in batch
    ]  # fmt: skip
    out.table(("batch", "flow", "mode", "parameters", "instead_of", "path"), rows, empty="nothing has to run again")
    for row in rows_of(body, "not_again"):
        out.note(f"not again: {row.get('instance_name')} run {row.get('run_id')}: {row.get('reason')}", style="dim")


def _head(out: Output, body: dict[str, Any]) -> None:
    flow = f"{body.get('instance_name')}/{body.get('flow_kind')}"
    out.line(
        f"{flow}, {_days(body)}: {body.get('reason')} "
        f"({body.get('versions_total')} versions, {body.get('tainted_total')} tainted runs)"
    )


def _days(row: dict[str, Any]) -> str:
    return f"{row.get('first_data_date')} to {row.get('last_data_date')}"


def _path(row: dict[str, Any]) -> list[str]:
    marks = rows_of(row, "tainted")
    return [str(name) for name in marks[0].get("path_names", [])] if marks else []


def _more(out: Output, body: dict[str, Any]) -> None:
    if body.get("cursor"):
        out.note(f"more with: --cursor {body['cursor']}", style="dim")
