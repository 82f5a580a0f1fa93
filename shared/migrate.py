"""Migrations of one service's schema: a job, never part of a start. Expand first, contract in a later release."""

from __future__ import annotations

from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.revisions import ROOT, VERSION_TABLE, versions_of


def configuration(service: str) -> Config:
    """Alembic's configuration for one service, without a file."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "shared" / "migrations"))
    config.set_main_option("version_locations", str(versions_of(service)))
    config.set_main_option("path_separator", "newline")
    return config


async def migrate(engine: AsyncEngine, service: str) -> tuple[str | None, str | None]:
    """Bring the service's schema to the newest revision, under one lock. Answers revision before and after."""
    async with engine.begin() as conn:
        await conn.execute(text("set local lock_timeout = '60s'"))
        await conn.execute(text("select pg_advisory_xact_lock(hashtextextended('runtide.migrate', 0))"))
        await conn.execute(text(f'create schema if not exists "{service}"'))
        return await conn.run_sync(lambda sync: _upgrade(sync, service))


def _upgrade(connection: Connection, service: str) -> tuple[str | None, str | None]:
    config = configuration(service)
    config.attributes.update(connection=connection, service=service)
    before = current(connection, service)
    command.upgrade(config, "head")
    return before, current(connection, service)


def current(connection: Connection, service: str) -> str | None:
    """The revision that the database has."""
    options: dict[str, Any] = {"version_table": VERSION_TABLE, "version_table_schema": service}
    return MigrationContext.configure(connection, opts=options).get_current_revision()
