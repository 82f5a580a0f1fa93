"""The command line `runtide`.

Exit codes: 0 completed, skipped or finished, 1 failed, 2 usage, 3 refused, 4 cancelled or expired, 124 timed out, 130
detached.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from runtide.cli import (
    announce,
    apply,
    backfill,
    calendars,
    dead_letters,
    delay,
    doctor,
    lineage,
    lists,
    restatements,
    schedules,
    submit,
    topics,
    watch,
)
from runtide.cli.session import Exit

app = typer.Typer(
    name="runtide",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ask for runs, follow them, and see what is fresh. Exit codes: 0 completed, skipped or finished, 1 failed, "
    "2 usage, 3 refused, 4 cancelled or expired, 124 timed out.",
)
for _command in (
    apply.apply,
    submit.submit,
    backfill.backfill,
    watch.watch,
    lists.requests,
    lists.runs,
    lists.run,
    lists.instances,
    lineage.lineage,
    lineage.plan,
    lineage.why,
    submit.cancel,
    delay.delay_source,
    restatements.supersede,
    restatements.restatements,
    announce.announce,
    doctor.doctor,
    doctor.config,
):
    app.command()(_command)
app.add_typer(calendars.app, name="calendars")
app.add_typer(schedules.app, name="schedules")
app.add_typer(topics.app, name="topics")
app.add_typer(dead_letters.app, name="dead-letters")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"runtide {version('runtide')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


def main() -> None:
    try:
        app()
    except KeyboardInterrupt:  # before a command has begun
        sys.exit(Exit.DETACHED)


if __name__ == "__main__":
    main()
