"""`runtide backfill`: a range of data dates as one request, with one progress and one cancel."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from runtide_schemas.backfills import MOST_OPEN
from runtide_schemas.vocabulary import BackfillOrder, BackfillStep, Gate, Mode, OnFailure

from runtide.cli.following import follow
from runtide.cli.output import Output
from runtide.cli.session import DAY, Exit, Json, with_client
from runtide.cli.submit import (
    FlowArgument,
    GateOption,
    ModeOption,
    Timeout,
    Wait,
    come_back,
    parameters_of,
    until_decided,
)
from runtide.client import Runtide


def backfill(
    instance: Annotated[str, typer.Argument(help="Name or id of the instance.")],
    start: Annotated[datetime, typer.Option("--from", formats=DAY, help="The first data date.")],
    end: Annotated[datetime, typer.Option("--until", formats=DAY, help="The last data date, included.")],
    flow: FlowArgument = None,
    step: Annotated[
        BackfillStep | None,
        typer.Option(help="What one run covers; default: sessions where the date rule counts in them, else days."),
    ] = None,
    max_open: Annotated[int, typer.Option(min=1, max=MOST_OPEN, help="How many dates may be open at once.")] = 1,
    order: Annotated[
        BackfillOrder, typer.Option(help="Which end of the range comes first.")
    ] = BackfillOrder.OLDEST_FIRST,
    on_failure: Annotated[
        OnFailure, typer.Option(help="After a date that failed: no more, or all the rest.")
    ] = OnFailure.STOP,
    parameter: Annotated[
        str, typer.Option(help="The parameter by which the flow is told its date; of a week or month also <name>_end.")
    ] = "data_date",
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="KEY=VALUE", help="A parameter of every run; the value is JSON or text."),
    ] = None,
    gate: GateOption = Gate.STRICT,
    mode: ModeOption = Mode.INCREMENTAL,
    wait: Wait = False,
    timeout: Timeout = None,
    command_id: Annotated[
        str | None, typer.Option(help="The same id again is the same backfill; default: a new one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask for one run per date of a range, oldest first. Cancel the whole with: runtide cancel ID."""
    out = Output(as_json=as_json)
    asked: list[UUID] = []

    async def command(client: Runtide) -> Exit | None:
        run = await client.backfill(
            instance,
            flow,
            start=start.date(),
            end=end.date(),
            step=step,
            max_open=max_open,
            order=order,
            parameter=parameter,
            on_failure=on_failure,
            parameters=parameters_of(param or []),
            mode=mode,
            gate=gate,
            command_id=command_id,
        )
        asked.append(run.id)
        if wait:
            out.line(f"backfill {run.id}")
            return await follow(client, run, out, label=instance, timeout_seconds=timeout)
        return await until_decided(client, run, out)

    with_client(out, command, on_interrupt=lambda: come_back(asked[0] if asked else None))
