"""`python -m services.<service> run | migrate | config check | offsets skip`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import typer
import uvloop
from aiokafka.errors import KafkaError
from pydantic import SecretStr, ValidationError
from runtide_schemas.cluster import ClusterError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared import collector
from shared.messaging import offsets, topics
from shared.postgres import engine_for, fetch, is_transient
from shared.revisions import pending
from shared.running import Running
from shared.service import Service
from shared.settings import ServiceSettings, environment_names, unknown_names


def main(
    name: str, settings_type: type[ServiceSettings], build: Callable[[Any], Service[Any]], *more: typer.Typer
) -> None:
    """The command line of one service; `more`: groups of commands of its own."""
    app = typer.Typer(add_completion=False, no_args_is_help=True, help=f"Runtide's service {name}.")
    config = typer.Typer(no_args_is_help=True, help="Settings.")
    skip = typer.Typer(no_args_is_help=True, help="What was read.")
    app.add_typer(config, name="config")
    app.add_typer(skip, name="offsets")

    @app.command()
    def run() -> None:
        """Serve until SIGTERM."""
        settings = _settings(settings_type)
        _refuse_old_tables(name, settings)
        _refuse_wrong_topics(settings)
        running = Running(build(settings))
        collector.calm()
        _loop(running.run())

    @app.command()
    def migrate() -> None:
        """Bring the tables to what this code needs."""
        from shared.migrate import migrate as migrate_schema  # with Alembic, which a running service does without

        before, after = _loop(_with_engine(name, _settings(settings_type), lambda e: migrate_schema(e, name)))
        typer.echo(
            f"{name}: {before or 'empty'} → {after}" if before != after else f"{name}: at {after}, nothing to do"
        )

    @config.command("check")
    def check() -> None:
        """Print the resolved settings, secrets masked; unknown variables are an error."""
        settings = _settings(settings_type)
        _print(settings)
        unknown = unknown_names(settings_type, os.environ)
        if unknown:
            typer.echo(f"unknown variables: {', '.join(unknown)}", err=True)
            raise typer.Exit(2)

    @config.command("names")
    def names() -> None:
        """Every variable with its meaning."""
        for variable, info in environment_names(settings_type):
            typer.echo(f"{variable}\t{info.description or ''}")

    @skip.command("skip")
    def offsets_skip(topic: str, partition: int, to: int) -> None:
        """Set a consumer's row by hand: an operator's decision after data was lost. Stop the service first."""
        found = _loop(_with_engine(name, _settings(settings_type), lambda e: _skip(e, topic, partition, to)))
        typer.echo(found)

    for group in more:
        app.add_typer(group)
    app()


def _settings(settings_type: type[ServiceSettings]) -> Any:
    try:
        return settings_type()
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            group = ".".join(str(part) for part in problem["loc"])
            of = f" {_variable(settings_type, error.title, group)}" if group else "s"
            typer.echo(f"setting{of}: {problem['msg'].removeprefix('Value error, ')}", err=True)
        raise typer.Exit(2) from None


def _variable(settings_type: type[ServiceSettings], title: str, field: str) -> str:
    for group in (settings_type, *(info.annotation for info in settings_type.model_fields.values())):
        if isinstance(group, type) and group.__name__ == title:
            return f"{getattr(group, 'model_config', {}).get('env_prefix', '')}{field}".upper()
    return field


def _print(settings: Any, indent: str = "") -> None:
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if hasattr(type(value), "model_fields"):
            typer.echo(f"{indent}{field}:")
            _print(value, indent + "  ")
        else:
            typer.echo(f"{indent}{field}: {'********' if isinstance(value, SecretStr) else value}")


def _refuse_old_tables(name: str, settings: ServiceSettings) -> None:
    async def missing(engine: AsyncEngine) -> list[str]:
        async with engine.connect() as conn:
            return await pending(conn, name)

    try:
        found = _loop(_with_engine(name, settings, missing))
    except Exception as error:
        if is_transient(error):
            return  # PostgreSQL is away: the service waits for it like for any neighbour
        raise
    if found:
        typer.echo(
            f"{name}: its tables are older than this code ({len(found)} migrations behind). "
            f"Run: python -m services.{name} migrate", err=True,
        )  # fmt: skip
        raise typer.Exit(3)


def _refuse_wrong_topics(settings: ServiceSettings) -> None:
    try:
        _loop(topics.insist(settings.kafka))
    except ClusterError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(3) from None
    except (KafkaError, OSError):
        return  # Kafka is away: the service waits for it like for any neighbour


async def _with_engine(name: str, settings: ServiceSettings, action: Callable[[AsyncEngine], Any]) -> Any:
    engine = engine_for(settings.postgres, schema=name, application=f"runtide-{name}-job")
    try:
        return await action(engine)
    finally:
        await engine.dispose()


async def _skip(engine: AsyncEngine, topic: str, partition: int, to: int) -> str:
    async with engine.begin() as conn:
        rows = await fetch(
            conn, "select consumer, next_offset from consumer_offsets where topic = :topic and partition = :partition",
            topic=topic, partition=partition,
        )  # fmt: skip
        for row in rows:
            await offsets.move(
                conn, consumer=row["consumer"], topic=topic, partition=partition, expected=row["next_offset"], to=to
            )
    return "\n".join(f"{row['consumer']} {topic}/{partition}: {row['next_offset']} → {to}" for row in rows) or "no row"


def _loop(coroutine: Any) -> Any:
    return uvloop.run(coroutine)
