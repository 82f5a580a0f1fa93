"""`runtide submit`, `watch ID` and `cancel`."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from runtide_schemas.vocabulary import Gate, Mode, RequestStatus, instance_id_of

from runtide import errors
from runtide.cli.following import follow, refused
from runtide.cli.output import Output
from runtide.cli.session import INSTANT, Exit, Json, with_client
from runtide.client import Runtide
from runtide.runs import Run

DECISION_SECONDS = 5.0
FlowArgument = Annotated[str | None, typer.Argument(help="Which flow, where the instance has several: training, …")]
GateOption = Annotated[Gate, typer.Option("--gate", help="What to do when something upstream is not ready.")]
ModeOption = Annotated[Mode, typer.Option("--mode", help="What the flow is told to do.")]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Follow it to its end; the exit code says which.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0, metavar="SECONDS", help="With --wait: stop waiting after this.")
]


def submit(
    instance: Annotated[str | None, typer.Argument(help="Name or id of the instance; with --plan it is known.")] = None,
    flow: FlowArgument = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="KEY=VALUE", help="A parameter; the value is JSON or text."),
    ] = None,
    gate: GateOption = Gate.STRICT,
    smart: Annotated[bool, typer.Option("--smart", help="Do nothing if it is ready already.")] = False,
    mode: ModeOption = Mode.INCREMENTAL,
    wait: Wait = False,
    timeout: Timeout = None,
    wait_until: Annotated[
        datetime | None,
        typer.Option(
            formats=INSTANT,
            help="With --gate wait or recursive: give up then (UTC).",
        ),
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="ID", help="Run what this plan says, or nothing; see: runtide plan.")
    ] = None,
    command_id: Annotated[
        str | None, typer.Option(help="The same id again is the same run; default: a new one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask for a run. Without --wait it returns once the request is decided, or after 5 seconds."""
    out = Output(as_json=as_json)
    submitted: list[UUID] = []

    async def command(client: Runtide) -> Exit | None:
        asked = await _asked(client, instance, flow, plan, smart=smart)
        label = f"{asked[0]} {asked[1]}" if asked[1] else asked[0]
        run = await client.submit_run(
            asked[0],
            asked[1],
            parameters=parameters_of(param or []),
            mode=mode,
            gate=gate,
            skip_if_ready=asked[2],
            wait_until=wait_until.replace(tzinfo=UTC) if wait_until else None,
            plan_id=plan,
            command_id=command_id,
        )
        submitted.append(run.id)
        if wait:
            out.line(f"run {run.id}")
            return await follow(client, run, out, label=label, timeout_seconds=timeout)
        return await until_decided(client, run, out)

    with_client(out, command, on_interrupt=lambda: come_back(submitted[0] if submitted else None))


async def _asked(
    client: Runtide, instance: str | None, flow: str | None, plan: str | None, *, smart: bool
) -> tuple[str, str | None, bool]:
    """Instance, flow and whether to skip what is ready: as said, and as the plan says. Raises: InvalidCommand."""
    if plan is None:
        if instance is None:
            raise errors.InvalidCommand("name an instance, or a plan with --plan")
        return instance, flow, smart
    body = await client.planned(plan)
    if instance is not None and str(instance_id_of(client.tenant, instance)) != body["instance_id"]:
        raise errors.InvalidCommand(f"plan {plan} is of {body['instance_name']}, not of {instance}")
    return body["instance_name"], flow or body["flow_kind"], smart or body["skip_if_ready"]


def watch_run(out: Output, run_id: str, timeout: float | None) -> None:
    """Follow one run to its end."""

    async def command(client: Runtide) -> Exit | None:
        run = client.attach(run_id)
        return await follow(client, run, out, label=str(run.id)[:8], timeout_seconds=timeout)

    with_client(out, command, on_interrupt=lambda: come_back(run_id))


def cancel(
    run_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the run or request.")],
    reason: Annotated[str | None, typer.Option(help="Why; people will read it.")] = None,
    as_json: Json = False,
) -> None:
    """Ask to cancel a run or request. `runtide watch ID` shows whether the cancel or the completion won."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        await client.cancel(run_id, reason, via="http" if client.settings.has("submission") else None)
        if as_json:
            out.json({"run_id": run_id, "cancel": "asked"})
        out.line(f"asked to cancel {run_id}; follow it with: runtide watch {run_id}")
        return None

    with_client(out, command)


def parameters_of(pairs: list[str]) -> dict[str, Any]:
    """`k=v`: the value as JSON if it is some, else as text. Raises: InvalidCommand."""
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise errors.InvalidCommand(f"--param {pair!r} is not KEY=VALUE")
        if name in parameters:
            raise errors.InvalidCommand(f"--param {name} is there twice")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    return parameters


def come_back(run_id: object) -> str:
    if run_id is None:
        return "interrupted before anything was sent"
    return f"\ndetached; the run goes on. Come back with: runtide watch {run_id}"


async def until_decided(client: Runtide, run: Run, out: Output) -> Exit:
    """The first word on it, so that a refusal is seen where it was asked for."""
    status: str | None = None
    try:
        async with asyncio.timeout(DECISION_SECONDS), aclosing(run.updates()) as updates:
            async for update in updates:
                status = update.status
                if update.is_end and update.status is not RequestStatus.SKIPPED:
                    await run.result()
                if update.status is not RequestStatus.REQUESTED:
                    break
    except TimeoutError:
        pass
    except errors.RunRefused as error:
        return await refused(client, out, error)
    if out.as_json:
        out.json({"run_id": run.id, "status": status})
    out.line(f"{run.id} {status or 'not decided yet'}")
    out.line(f"follow it with: runtide watch {run.id}")
    return Exit.OK
