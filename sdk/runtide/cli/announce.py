"""`runtide announce`: let a service say again all that it knows, for readers that missed it or know more."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

import typer

from runtide.cli.dead_letters import Service
from runtide.cli.output import Output
from runtide.cli.session import INSTANT, Exit, Json, with_client
from runtide.client import Runtide
from runtide.errors import ApiError

STILL_READING, AGAIN_SECONDS = "STILL_READING", 5.0


def announce(
    service: Annotated[Service, typer.Argument(help="Who is to say it.")],
    after_restore: Annotated[
        bool, typer.Option("--after-restore", help="Its tables are older than what it said: raise every seq by 1,000.")
    ] = False,
    tenant: Annotated[str | None, typer.Option(help="Only about this tenant.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=INSTANT, help="Leave out what ended before; 30 days, if not said.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say the current snapshot of everything that lives again; readers take it, and nothing else changes."""
    out = Output(as_json=as_json)
    asked: dict[str, Any] = {"after_restore": after_restore, "tenant": tenant}
    asked["since"] = since.strftime("%Y-%m-%dT%H:%M:%SZ") if since else None

    async def command(client: Runtide) -> Exit | None:
        total, cursor = 0, None
        while True:
            body = await _portion(client, service.value, {**asked, "cursor": cursor}, out)
            total, cursor = total + int(body.get("announced", 0)), body.get("cursor")
            if cursor is None:
                break
        if as_json:
            out.json({"service": service.value, "announced": total})
        out.line(f"{service.value} said {total} snapshots again")
        return None

    with_client(out, command, on_interrupt=lambda: "interrupted; begin again, it does no harm")


async def _portion(client: Runtide, service: str, asked: dict[str, Any], out: Output) -> dict[str, Any]:
    """One portion; a service that still reads what it forgot is waited for."""
    while True:
        try:
            return await client.api.call(service, "POST", "/v1/ops/announce", body=asked)
        except ApiError as error:
            if error.code != STILL_READING:
                raise
            out.note(f"waiting: {error}")
            await asyncio.sleep(AGAIN_SECONDS)
