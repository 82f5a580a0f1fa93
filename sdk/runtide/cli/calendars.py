"""`runtide calendars list | show | sync | close | early-close | reopen`: the days that lineage counts in."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer

from runtide import market_calendars
from runtide.cli.output import Output
from runtide.cli.session import DAY, Exit, Json, rows_of, with_client
from runtide.client import Runtide
from runtide.errors import InvalidCommand

app = typer.Typer(
    no_args_is_help=True, help="Sessions of markets: what date rules count in. Changing them needs the scope `ops`."
)
Code = Annotated[str, typer.Argument(metavar="CODE", help="XNYS, XLON, …, or a country: US, DE-BY.")]
Day = Annotated[datetime, typer.Argument(metavar="DAY", formats=DAY, help="YYYY-MM-DD.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; people will read it.")]


@app.command("list")
def listing(as_json: Json = False) -> None:
    """Every calendar, from when to when it is known."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        body = await client.api.get("lineage", "/v1/calendars")
        if as_json:
            out.json(body)
            return None
        columns = ("code", "zone", "first_day", "last_day", "days_left", "source", "synced_by")
        found = rows_of(body, "calendars")
        rows = [[row.get(column) for column in columns] for row in found]
        out.table(columns, rows, empty="no calendars; get one with: runtide calendars sync XNYS")
        for row in found:
            if row.get("ends_soon"):
                out.note(f"{row['code']} ends on {row['last_day']}: runtide calendars sync {row['code']}", "yellow")
        return None

    with_client(out, command)


@app.command()
def show(
    code: Code,
    since: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="Default: 14 days ago.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="Default: in 30 days.")] = None,
    as_json: Json = False,
) -> None:
    """Its sessions, and what was entered by hand."""
    out, today = Output(as_json=as_json), datetime.now(UTC).date()
    first = since.date() if since else today - timedelta(days=14)
    last = until.date() if until else today + timedelta(days=30)

    async def command(client: Runtide) -> Exit | None:
        body = await client.api.get("lineage", f"/v1/calendars/{_checked(code)}", **{"from": first, "to": last})
        if as_json:
            out.json(body)
            return None
        out.fields({name: body.get(name) for name in ("code", "zone", "first_day", "last_day", "days_left", "source")})
        early: dict[str, Any] = body.get("early_closes", {})
        out.line(f"sessions from {first} to {last}:")
        for day in body.get("sessions", []):
            closes = f"  closes early, {early[day]}" if day in early else ""
            out.line(f"  {date.fromisoformat(day):%a %Y-%m-%d}{closes}")
        for one in rows_of(body, "entered"):
            out.line(f"{one['day']} {one['kind']} ({one['reason']}), entered by {one['actor']} at {one['entered_at']}")
        return None

    with_client(out, command)


@app.command()
def sync(
    codes: Annotated[
        list[str] | None, typer.Argument(metavar="[CODE]...", help="Default: all that lineage has.")
    ] = None,
    since: Annotated[datetime | None, typer.Option("--from", formats=DAY, help="Default: 20 years ago.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=DAY, help="Default: end of next year.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Default: the exchange's; of a country UTC.")] = None,
    if_ends_within: Annotated[
        int | None, typer.Option(min=0, metavar="DAYS", help="Leave alone what is known for longer.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compute sessions here (needs the extra `calendars`) and give them to lineage; flows are asked again at once."""
    out = Output(as_json=as_json)
    first, last = market_calendars.default_range(datetime.now(UTC).date())
    first, last = (since.date() if since else first), (until.date() if until else last)

    async def command(client: Runtide) -> Exit | None:
        body = await client.api.get("lineage", "/v1/calendars")
        left = {row["code"]: int(row["days_left"]) for row in rows_of(body, "calendars")}
        synced, kept = [], []
        for code in [_checked(code) for code in codes or sorted(left)]:
            if if_ends_within is not None and left.get(code, -1) > if_ends_within:
                kept.append(code)
                out.line(f"{code}: known for {left[code]} more days, left alone")
                continue
            computed = market_calendars.computed(code, first, last, timezone)
            await client.api.call("lineage", "PUT", f"/v1/calendars/{code}", body=computed.body())
            synced.append(code)
            days = f"{len(computed.sessions)} sessions from {computed.first_day} to {computed.last_day}"
            out.line(f"{code}: {days}, days of {computed.zone} ({computed.source})")
        if as_json:
            out.json({"synced": synced, "kept": kept})
        return None

    with_client(out, command)


@app.command()
def close(code: Code, day: Day, reason: Reason, as_json: Json = False) -> None:
    """That session does not take place; it counts at once."""
    _enter("closures", code, {"day": day.date().isoformat(), "reason": reason}, as_json)


@app.command("early-close")
def early_close(
    code: Code,
    day: Day,
    closes_at: Annotated[datetime, typer.Argument(metavar="HH:MM", formats=["%H:%M"], help="In the market's zone.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """That session ends early. It is kept and shown; data is expected when its rule says, as on any day."""
    body = {"day": day.date().isoformat(), "closes_at": f"{closes_at:%H:%M}", "reason": reason}
    _enter("early-closes", code, body, as_json)


@app.command()
def reopen(code: Code, day: Day, as_json: Json = False) -> None:
    """Take back what was entered for that day by mistake."""
    _change("DELETE", f"{_checked(code)}/closures/{day.date()}", None, f"{code} {day.date()}: as synced again", as_json)


def _enter(what: str, code: str, body: dict[str, str], as_json: bool) -> None:
    _change("POST", f"{_checked(code)}/{what}", body, f"{code} {body['day']}: entered ({body['reason']})", as_json)


def _change(method: str, path: str, body: dict[str, str] | None, said: str, as_json: bool) -> None:
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        answer = await client.api.call("lineage", method, f"/v1/calendars/{path}", body=body)
        if as_json:
            out.json(answer)
        out.line(said)
        return None

    with_client(out, command)


def _checked(code: str) -> str:
    if not market_calendars.CODE_PATTERN.fullmatch(code):
        raise InvalidCommand(f"{code!r} is no code of a calendar; allowed are letters, digits, '.', '_' and '-'")
    return code
