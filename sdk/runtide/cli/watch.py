"""`runtide watch`: one run to its end, or everything of the tenant as it moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text
from runtide_schemas.runs import RunStatusChanged

from runtide.board import Board, Row
from runtide.cli.following import sentence
from runtide.cli.output import STYLES, Output, cell
from runtide.cli.session import Exit, Json, rows_of, with_client
from runtide.cli.submit import watch_run
from runtide.client import Runtide
from runtide.errors import ApiError, Unavailable
from runtide.following import Followed
from runtide.runs import snapshot_in

_SHOWN = 30


def watch(
    run_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A run or request; without it: all.")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="Stop after this.")] = None,
    as_json: Json = False,
) -> None:
    """Follow a run to its end, or watch all runs until Ctrl-C."""
    out = Output(as_json=as_json)
    if run_id is not None:
        watch_run(out, run_id, timeout)

    async def command(client: Runtide) -> Exit | None:
        try:
            async with asyncio.timeout(timeout):
                await _watch_all(client, out)
        except TimeoutError:
            return Exit.OK
        return None

    with_client(out, command, on_interrupt=lambda: "")


async def _watch_all(client: Runtide, out: Output) -> None:
    board = Board()
    started_at = datetime.now(UTC)
    for snapshot in await _recent(client):
        board.apply(snapshot)
    async with aclosing(client.everything(started_at)) as messages:
        if out.live:
            await _table(board, messages, out)
            return
        async for message in messages:
            for update in board.apply(message):
                if out.as_json:
                    out.json(update.snapshot, pretty=False)
                row = board.rows[update.run_id]
                out.line(f"{cell(update.occurred_at)} {row.run_id} {row.name} {sentence(update)}")


async def _table(board: Board, messages: AsyncIterator[Followed], out: Output) -> None:
    with Live(_drawn(board), console=out.console, refresh_per_second=8) as live:
        async for message in messages:
            if board.apply(message):
                live.update(_drawn(board))


def _drawn(board: Board) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("run", "instance", "flow", "status", "progress", "step", "changed"):
        table.add_column(column)
    for row in board.newest(_SHOWN):
        table.add_row(str(row.run_id)[:8], row.name, row.flow_kind, *_state(row))
    if not board.rows:
        table.add_row("nothing yet; Ctrl-C ends this")
    return table


def _state(row: Row) -> tuple[Text, str, str, str]:
    update = row.update
    percent = f"{update.progress_pct:.0f}%" if update.progress_pct is not None else ""
    said = update.step or (f"waits for {', '.join(b.name for b in update.blockers)}" if update.blockers else "")
    status = Text(update.status, style=STYLES.get(update.status, ""))
    return status, percent, said or update.message or "", cell(update.occurred_at)


async def _recent(client: Runtide) -> list[Followed]:
    """The newest runs, so that the table does not begin empty."""
    if not client.settings.has("run_tracker"):
        return []
    try:
        body = await client.runs(limit=20)
    except (ApiError, Unavailable):
        return []
    found = [snapshot_in(RunStatusChanged, row) for row in rows_of(body, "runs")]
    return [snapshot for snapshot in found if snapshot is not None]
