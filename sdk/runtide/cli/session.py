"""How a command runs: one client, one event loop, and an exit code that says how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Annotated, Any, NoReturn

import typer
from runtide_schemas.vocabulary import instance_id_of

from runtide import errors
from runtide.cli.output import Output, cell
from runtide.client import Runtide
from runtide.names import did_you_mean

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else to stdout.")]
DAY = ["%Y-%m-%d"]
INSTANT = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", *DAY]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many at most.")]


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    CANCELLED = 4
    TIMED_OUT = 124
    DETACHED = 130


_CODES: tuple[tuple[type[errors.RuntideError], Exit], ...] = (
    (errors.RunRefused, Exit.REFUSED),
    (errors.RegistrationRefused, Exit.REFUSED),
    (errors.CommandConflict, Exit.REFUSED),
    (errors.RunCancelled, Exit.CANCELLED),
    (errors.RunExpired, Exit.CANCELLED),
    (errors.WaitTimedOut, Exit.TIMED_OUT),
    (errors.ConfigurationError, Exit.USAGE),
    (errors.InvalidCommand, Exit.USAGE),
)


def open_client() -> Runtide:
    """The seam for tests."""
    return Runtide.from_env()


def with_client(
    out: Output, command: Callable[[Runtide], Awaitable[Exit | None]], *, on_interrupt: Callable[[], str] | None = None
) -> NoReturn:
    """Run the command with a client and exit. `on_interrupt`: what Ctrl-C says."""

    async def session() -> Exit | None:
        async with open_client() as client:
            return await command(client)

    execute(out, session, on_interrupt=on_interrupt)


def execute(
    out: Output, work: Callable[[], Awaitable[Exit | None]], *, on_interrupt: Callable[[], str] | None = None
) -> NoReturn:
    """Run it and exit; every error that is ours becomes a sentence and a code."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def session() -> Exit | None:
        return await work()

    try:
        code = asyncio.run(session()) or Exit.OK
    except KeyboardInterrupt:
        out.note(on_interrupt() if on_interrupt else "interrupted")
        code = Exit.DETACHED
    except errors.RuntideError as error:
        code = tell(out, error)
    raise typer.Exit(int(code))


def tell(out: Output, error: errors.RuntideError) -> Exit:
    """Say what went wrong, with what it carries."""
    more: dict[str, Any] = {}
    blockers = getattr(error, "blockers", ())
    if code := getattr(error, "code", None):
        more["code"] = code
    if blockers:
        more["blockers"] = list(blockers)
    if isinstance(error, errors.RunEnded):
        more["run_id"] = error.run_id
    out.error(type(error).__name__, str(error), **more)
    for blocker in blockers:
        flow = f"/{blocker.flow_kind}" if blocker.flow_kind else ""
        out.note(
            f"  blocked by {blocker.name}{flow}: {blocker.status}{f' ({blocker.reason})' if blocker.reason else ''}"
        )
    return next((exit_code for kind, exit_code in _CODES if isinstance(error, kind)), Exit.FAILED)


async def known_names(client: Runtide) -> list[str]:
    """The names of the tenant's instances, as far as lineage answers; for suggestions only."""
    if not client.settings.has("lineage"):
        return []
    try:
        return [cell(row.get("name")) for row in rows_of(await client.instances(), "instances")]
    except (errors.ApiError, errors.Unavailable):
        return []


async def unknown(client: Runtide, instance: str, error: errors.NotFound) -> errors.NotFound:
    """The same error with the name that was typed, which we asked for by its id, and near names."""
    if error.code != "NOT_FOUND":
        return error
    said = str(error).replace(str(instance_id_of(client.tenant, instance)), instance)
    return errors.NotFound(f"{said}{await suggestion(client, instance)}", status=404, code=error.code)


async def suggestion(client: Runtide, instance: str) -> str:
    """`; did you mean 'prices'?`, or nothing."""
    return did_you_mean(instance, await known_names(client))


def rows_of(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The rows of a list answer."""
    rows = body.get(name, body.get("items", []))
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
