"""`runtide delay-source`: say that a source is late, so that nobody is woken for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from runtide.cli.output import Output, moment
from runtide.cli.session import Exit, Json, suggestion, with_client
from runtide.client import Runtide
from runtide.errors import NotFound


def delay_source(
    instance: Annotated[str, typer.Argument(help="Name or id of the instance whose source is late.")],
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"],
            help="Until then (UTC). Default: until the data has caught up.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; people will read it.")] = None,
    over: Annotated[bool, typer.Option("--over", help="Take the delay back.")] = False,
    as_json: Json = False,
) -> None:
    """While its data has not caught up, the instance shows `stale_source_delayed` instead of `stale`."""
    out = Output(as_json=as_json)
    if over and until:
        raise typer.BadParameter("--over and --until exclude each other")
    end = datetime.now(UTC) - timedelta(minutes=1) if over else until.replace(tzinfo=UTC) if until else None

    async def command(client: Runtide) -> Exit | None:
        try:
            body = await client.delay_source(instance, until=end, reason=reason)
        except NotFound as error:
            raise NotFound(f"{error}{await suggestion(client, instance)}", status=404, code=error.code) from None
        if as_json:
            out.json(body)
        delay = body.get("source_delay")
        said = "no longer delayed" if delay is None else f"delayed until {_end(delay)}"
        out.line(f"{instance}: {said}; it is {body.get('status')}")
        return None

    with_client(out, command)


def _end(delay: dict[str, object]) -> str:
    return moment(delay["until"]) if delay.get("until") else "the data has caught up"
