"""`runtide doctor` and `runtide config`."""

from __future__ import annotations

from typing import Annotated

import typer

from runtide import doctor as doctor_module
from runtide import settings as settings_module
from runtide.cli.output import STYLES, Output
from runtide.cli.session import Exit, Json, execute

_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "-"}


def doctor(
    as_json: Json = False,
    lineage: Annotated[bool, typer.Option("--lineage", help="also work out all freshness from scratch")] = False,
) -> None:
    """Look at every part: Kafka, topics, the services, Prefect, S3, realtime. Says what is wrong and what to do."""
    out = Output(as_json=as_json)

    async def work() -> Exit | None:
        findings = await doctor_module.examine(settings_module.load(), lineage=lineage)
        if as_json:
            out.json({"findings": findings, "healthy": doctor_module.healthy(findings)})
        for finding in findings:
            mark = _MARKS[finding.state]
            out.line(f"{mark} {finding.part}: {finding.said}")
            if finding.to_do:
                out.line(f"    → {finding.to_do}")
        failed = {finding.part: None for finding in findings if finding.state == "failed"}
        if failed:
            parts = {finding.part for finding in findings}
            out.note(f"{len(failed)} of {len(parts)} parts need you: {', '.join(failed)}", style=STYLES["failed"])
            return Exit.FAILED
        return None

    execute(out, work)


def config(as_json: Json = False) -> None:
    """The settings as resolved, secrets masked, and where each comes from."""
    out = Output(as_json=as_json)

    async def work() -> Exit | None:
        settings = settings_module.load()
        rows = settings.masked()
        if as_json:
            out.json(
                {
                    "settings": {variable: {"value": value, "from": source} for variable, value, source in rows},
                    "actor": settings.actor,
                    "stack_file": settings.stack_file,
                    "stack_file_ignored": settings.ignored,
                }
            )
            return None
        out.table(("variable", "value", "from"), rows, empty="")
        out.line(f"actor: {settings.actor}")
        if settings.stack_file and settings.ignored:
            out.line(f"{settings.stack_file} was found and left out: {settings.ignored}")
        elif settings.stack_file:
            out.line(f"{settings.stack_file} was read for what the environment does not set")
        return None

    execute(out, work)
