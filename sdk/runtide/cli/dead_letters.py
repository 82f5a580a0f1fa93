"""`runtide dead-letters list | show | replay | drop`, through each service's `/v1/ops`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from runtide.cli.output import Output, moment
from runtide.cli.session import Exit, Json, Limit, rows_of, with_client
from runtide.client import Runtide
from runtide.settings import SERVICES

app = typer.Typer(no_args_is_help=True, help="Records that could not be handled, kept until somebody decides.")


class Service(StrEnum):
    SUBMISSION = "submission"
    RUN_TRACKER = "run_tracker"
    LINEAGE = "lineage"
    NOTIFIER = "notifier"


class LetterStatus(StrEnum):
    NEW = "new"
    REPLAYED = "replayed"
    DROPPED = "dropped"


Whose = Annotated[Service, typer.Option("--service", "-s", help="Whose.")]
Id = Annotated[int, typer.Argument(metavar="ID", help="The letter's number in its service.")]


@app.command("list")
def listing(
    service: Annotated[Service | None, typer.Option("--service", "-s", help="Only this one's.")] = None,
    status: Annotated[LetterStatus | None, typer.Option(help="Only these.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """The newest of every service."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        wanted: Sequence[str] = [service.value] if service else [s for s in SERVICES if client.settings.has(s)]
        found: list[dict[str, Any]] = []
        for name in wanted:
            body = await client.api.get(name, "/v1/ops/dead-letters", limit=limit, status=status)
            found += [{"service": name, **row} for row in rows_of(body, "dead_letters")]
        if as_json:
            out.json({"dead_letters": found})
            return None
        columns = ("service", "id", "status", "topic", "reason", "attempts", "first_seen_at")
        rows = [[moment(row.get(c)) if c.endswith("_at") else row.get(c) for c in columns] for row in found]
        out.table(columns, rows, empty="no dead letters")
        return None

    with_client(out, command)


@app.command()
def show(letter_id: Id, service: Whose, as_json: Json = False) -> None:
    """One letter whole: where it came from, what it says, why it failed."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        body = await client.api.get(service.value, f"/v1/ops/dead-letters/{letter_id}")
        if as_json:
            out.json(body)
        else:
            out.fields(body)
        return None

    with_client(out, command)


@app.command()
def replay(letter_id: Id, service: Whose, as_json: Json = False) -> None:
    """Hand the record to its handler again; doing so twice changes nothing more."""
    _decide("replay", letter_id, service, as_json)


@app.command()
def drop(letter_id: Id, service: Whose, as_json: Json = False) -> None:
    """Decide that it will never be handled."""
    _decide("drop", letter_id, service, as_json)


def _decide(verb: str, letter_id: int, service: Service, as_json: bool) -> None:
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        body = await client.api.call(service.value, "POST", f"/v1/ops/dead-letters/{letter_id}/{verb}")
        if as_json:
            out.json(body)
        out.line(f"{service.value} dead letter {letter_id}: {body.get('status', verb)}")
        return None

    with_client(out, command)
