"""`runtide topics plan | apply`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from aiokafka.errors import KafkaError
from runtide_schemas import cluster
from runtide_schemas.cluster import Change, ClusterError

from runtide import settings as settings_module
from runtide.cli.output import Output
from runtide.cli.session import Exit, Json, execute
from runtide.errors import KafkaUnavailable, RuntideError
from runtide.kafka import opened_admin

app = typer.Typer(no_args_is_help=True, help="Kafka's topics, as this version of Runtide wants them.")
Factor = Annotated[
    int | None, typer.Option("--replication-factor", min=1, help="Default: 3, or as many brokers as there are.")
]


@app.command()
def plan(replication_factor: Factor = None, as_json: Json = False) -> None:
    """Show what differs; change nothing."""
    _run(cluster.plan, replication_factor, as_json, "to change")


@app.command()
def apply(replication_factor: Factor = None, as_json: Json = False) -> None:
    """Create what is missing, add partitions, set policies. Nothing is deleted; applying again does nothing."""
    _run(cluster.apply, replication_factor, as_json, "changed")


def _run(
    verb: Callable[..., Awaitable[list[Change]]], replication_factor: int | None, as_json: bool, word: str
) -> None:
    out = Output(as_json=as_json)

    async def work() -> Exit | None:
        settings = settings_module.load()
        async with opened_admin(settings) as admin:
            try:
                changes = await verb(admin, replication_factor=replication_factor, prefix=settings.kafka_prefix)
            except KafkaError as error:
                raise KafkaUnavailable(f"Kafka at {settings.kafka_bootstrap}: {error!r}") from error
            except ClusterError as error:
                raise RuntideError(str(error)) from error
        _show(out, changes, word)
        return None

    execute(out, work)


def _show(out: Output, changes: list[Change], word: str) -> None:
    if out.as_json:
        rows: list[dict[str, Any]] = [
            {"topic": change.topic, "kind": change.kind, "what": change.what, "fatal": change.fatal}
            for change in changes
        ]
        out.json({"changes": rows})
        return
    if changes:
        out.table(("topic", "change", "what"), [(c.topic, c.kind, c.what) for c in changes], empty="")
    by_hand = sum(change.kind == "by_hand" for change in changes)
    out.line(f"{len(changes) - by_hand} {word}{f', {by_hand} left to do by hand' if by_hand else ''}")
