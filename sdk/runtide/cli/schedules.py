"""`runtide schedules list | pause | resume`: the flows that run by themselves, and when next."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from runtide.cli.output import Output, moment
from runtide.cli.session import Exit, Json, known_names, rows_of, unknown, with_client
from runtide.client import Runtide
from runtide.errors import NotFound

app = typer.Typer(no_args_is_help=True, help="Flows that run by themselves: when next, and what became of the last.")
Instance = Annotated[str, typer.Argument(metavar="INSTANCE", help="Name or id.")]
Flow = Annotated[str | None, typer.Argument(metavar="[FLOW]", help="Which one, where the instance has several.")]


@app.command("list")
def listing(
    instance: Annotated[str | None, typer.Option(help="Only of this instance (name or id).")] = None,
    count: Annotated[int, typer.Option("--next", min=1, max=100, help="How many instants to come.")] = 3,
    as_json: Json = False,
) -> None:
    """Every schedule with its next instants, and how its last request stands."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        body = await client.schedules(instance=instance, count=count)
        if as_json:
            out.json(body)
            return None
        columns = ("name", "flow_kind", "schedule", "status", "next", "last", "last_run_id")
        found = rows_of(body, "schedules")
        out.table(columns, [_row(one) for one in found], empty="no schedules; declare one with the flow: schedule: {…}")
        for one in found:
            if one.get("doubt"):
                out.note(f"{one['name']}/{one['flow_kind']}: {one['doubt']}", "yellow")
        return None

    with_client(out, command)


@app.command()
def pause(instance: Instance, flow: Flow = None, as_json: Json = False) -> None:
    """Ask for nothing of it until it is resumed; what runs or waits goes on."""
    _switch(instance, flow, "pause", Output(as_json=as_json))


@app.command()
def resume(instance: Instance, flow: Flow = None, as_json: Json = False) -> None:
    """Go on with the next instant; what lay in the pause is not made up for."""
    _switch(instance, flow, "resume", Output(as_json=as_json))


def _switch(instance: str, flow: str | None, how: str, out: Output) -> None:
    async def command(client: Runtide) -> Exit | None:
        try:
            body = await (client.pause_schedule if how == "pause" else client.resume_schedule)(instance, flow)
        except NotFound as error:
            if error.code == "NOT_FOUND" and instance in await known_names(client):
                raise NotFound(f"{instance} has no schedule", status=404, code=error.code) from None
            raise await unknown(client, instance, error) from None
        if out.as_json:
            out.json(body)
            return None
        out.line(f"{body['name']}/{body['flow_kind']} is {body['status']}; next: {_instants(body)}")
        return None

    with_client(out, command)


def _row(one: dict[str, Any]) -> list[Any]:
    last = one.get("last") or {}
    said = f"{moment(last['planned_for'])}: {last.get('status')}" if last else "-"
    return [
        one.get("name"), one.get("flow_kind"), _spelled(one.get("schedule", {})), one.get("status"), _instants(one),
        said, last.get("run_id"),
    ]  # fmt: skip


def _instants(one: dict[str, Any]) -> str:
    return ", ".join(moment(each.get("at")) for each in rows_of(one, "next")) or "-"


def _spelled(schedule: dict[str, Any]) -> str:
    """`XNYS sessions at 18:05 America/New_York`."""
    zone = f" {schedule['timezone']}" if schedule.get("timezone") else ""
    if schedule.get("cron"):
        return f"cron {schedule['cron']}{zone or ' UTC'}"
    if schedule.get("interval"):
        return f"every {schedule['interval']}"
    later = f" {schedule['days_later']} days later" if schedule.get("days_later") else ""
    return f"{schedule.get('sessions')} sessions{later} at {schedule.get('at')}{zone}"
