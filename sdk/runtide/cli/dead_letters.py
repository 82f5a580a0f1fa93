"""`runtide dead-letters list | show | replay | drop`, through each service's `/v1/ops`."""

from __future__ import annotations

import base64
import sys
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import typer

from runtide.cli.output import Output, moment
from runtide.cli.session import Exit, Json, Limit, rows_of, with_client
from runtide.client import Runtide
from runtide.errors import ApiError
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


class Part(StrEnum):
    KEY = "key"
    VALUE = "value"


Whose = Annotated[Service, typer.Option("--service", "-s", help="Whose.")]
Id = Annotated[int, typer.Argument(metavar="ID", help="The letter's number in its service.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="The letters' numbers in their service.")]
All = Annotated[bool, typer.Option("--all", help="All new ones, or those that the options choose.")]
Topic = Annotated[str | None, typer.Option(help="Only those of this topic.")]
Reason = Annotated[str | None, typer.Option(help="Only those whose reason contains this.")]


@app.command("list")
def listing(
    service: Annotated[Service | None, typer.Option("--service", "-s", help="Only this one's.")] = None,
    status: Annotated[LetterStatus | None, typer.Option(help="Only these.")] = None,
    topic: Topic = None,
    reason: Reason = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """The newest of every service."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        wanted: Sequence[str] = [service.value] if service else [s for s in SERVICES if client.settings.has(s)]
        found: list[dict[str, Any]] = []
        for name in wanted:
            body = await client.api.get(
                name, "/v1/ops/dead-letters", limit=limit, status=status, topic=topic, reason=reason
            )
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
def show(
    letter_id: Id,
    service: Whose,
    raw: Annotated[Part | None, typer.Option(help="Write this alone, byte for byte, to stdout.")] = None,
    as_json: Json = False,
) -> None:
    """One letter whole: where it came from, what it says, why it failed."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        body = await client.api.get(service.value, f"/v1/ops/dead-letters/{letter_id}")
        parts = body.get("raw") or {}
        if raw is not None:
            sys.stdout.buffer.write(base64.b64decode(parts.get(raw.value) or ""))
            sys.stdout.buffer.flush()
        elif as_json:
            out.json(body)
        else:
            out.fields({name: value for name, value in body.items() if name != "raw"})
        return None

    with_client(out, command)


@app.command()
def replay(
    service: Whose, ids: Ids = None, every: All = False, topic: Topic = None, reason: Reason = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Hand records to their handler again; doing so twice changes nothing more."""
    _decide(Decision("replay", "replayed"), service, ids, _chosen(every, topic, reason), as_json)


@app.command()
def drop(
    service: Whose, ids: Ids = None, every: All = False, topic: Topic = None, reason: Reason = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Decide that these will never be handled."""
    _decide(Decision("drop", "dropped"), service, ids, _chosen(every, topic, reason), as_json)


class Decision(NamedTuple):
    verb: str
    done: str


def _chosen(every: bool, topic: str | None, reason: str | None) -> dict[str, Any] | None:
    """The body of a portion; None: no letter was chosen but by its number."""
    if not (every or topic or reason):
        return None
    return {name: value for name, value in (("topic", topic), ("reason", reason)) if value is not None}


def _decide(
    decision: Decision, service: Service, ids: Sequence[int] | None, chosen: dict[str, Any] | None, as_json: bool
) -> None:
    out = Output(as_json=as_json)
    if bool(ids) == (chosen is not None):
        raise typer.BadParameter("name letters by their numbers, or choose them by --all, --topic or --reason")

    async def command(client: Runtide) -> Exit | None:
        done, failed = [], []
        async for body in _portions(client, decision, service.value, ids or (), chosen):
            done += body.get(decision.done, [])
            failed += rows_of(body, "failed")
        if as_json:
            out.json({decision.done: done, "failed": failed})
        for letter_id in done:
            out.line(f"{service.value} dead letter {letter_id}: {decision.done}")
        for one in failed:
            out.line(f"{service.value} dead letter {one.get('id')}: {one.get('code')}: {one.get('reason')}")
        out.note(f"{len(done)} {decision.done}, {len(failed)} failed")
        return Exit.FAILED if failed else None

    with_client(out, command)


async def _portions(
    client: Runtide, decision: Decision, service: str, ids: Sequence[int], chosen: dict[str, Any] | None
) -> AsyncIterator[dict[str, Any]]:
    """What each call came to."""
    path = "/v1/ops/dead-letters"
    for letter_id in ids:
        try:
            await client.api.call(service, "POST", f"{path}/{letter_id}/{decision.verb}")
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            yield {"failed": [{"id": letter_id, "code": error.code, "reason": error.body.get("detail")}]}
        else:
            yield {decision.done: [letter_id]}
    after: int | None = 0 if chosen is not None else None
    while after is not None:
        body = await client.api.call(
            service, "POST", f"{path}/{decision.verb}", body={**(chosen or {}), "after": after}
        )
        yield body
        after = body.get("cursor")
