"""`runtide apply platform.yaml`: register what is new or different; applying again does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtide.cli.output import Output
from runtide.cli.session import Exit, Json, with_client
from runtide.client import Runtide
from runtide.platform import Platform
from runtide.registration import Planned, Registrations


def apply(
    file: Annotated[Path, typer.Argument(metavar="PLATFORM.YAML", help="The instances to register.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the answers.")] = 60,
    as_json: Json = False,
) -> None:
    """Check the whole file, show what will change, publish it, and wait until each instance has answered."""
    out = Output(as_json=as_json)

    async def command(client: Runtide) -> Exit | None:
        platform = Platform.read(file)
        for warning in platform.warnings:
            out.note(warning, style="yellow")
        registrations = Registrations(client.settings, client.log)
        planned = await registrations.plan(platform.registrations(client.settings))
        _show(out, planned)
        if dry_run:
            if as_json:
                out.json({"planned": [_as_json(plan) for plan in planned], "applied": False})
            return None
        applied = await registrations.apply(planned, timeout_seconds=timeout)
        if as_json:
            statuses = {str(instance_id): snapshot.status for instance_id, snapshot in applied.snapshots.items()}
            rows = [{**_as_json(plan), "status": statuses.get(str(plan.command.id))} for plan in planned]
            out.json({"planned": rows, "applied": True})
        changed = sum(plan.kind != "unchanged" for plan in planned)
        out.line(f"{changed} registered, {len(planned) - changed} unchanged")
        return None

    with_client(out, command)


def _show(out: Output, planned: list[Planned]) -> None:
    if out.as_json:
        return
    rows = [
        (plan.command.name, plan.command.instance_type, plan.kind, "; ".join(plan.changes) or "-") for plan in planned
    ]
    out.table(("name", "instance_type", "change", "what"), rows, empty="nothing to register")


def _as_json(plan: Planned) -> dict[str, object]:
    return {
        "name": plan.command.name,
        "instance_id": plan.command.id,
        "change": plan.kind,
        "what": list(plan.changes),
    }
