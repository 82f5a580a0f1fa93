"""The migrated database is what the code believes it to be, for every service."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text

from shared.migrate import migrate
from shared.postgres import engine_for
from shared.revisions import ROOT, VERSION_TABLE, known, pending
from tests.support.harness import World

SERVICES = sorted(path.parent.name for path in Path(ROOT, "services").glob("*/tables.py"))


def differences(connection: Connection, metadata: MetaData) -> list[Any]:
    options = {
        "compare_type": True, "compare_server_default": False,
        "include_name": lambda name, kind, _: not (kind == "table" and name == VERSION_TABLE),
    }  # fmt: skip
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


@pytest.mark.parametrize("name", SERVICES)
async def test_the_migrated_database_equals_the_tables_of_the_code(world: World, name: str) -> None:
    metadata: MetaData = import_module(f"services.{name}.tables").metadata
    engine = engine_for(world.settings("submission").postgres, schema=name, application="test")
    try:
        async with engine.connect() as conn:
            assert await pending(conn, name) == known(name)
        before, after = await migrate(engine, name)
        assert before is None
        assert after is not None
        assert await migrate(engine, name) == (after, after)  # a second time there is nothing to do
        async with engine.connect() as conn:
            assert await pending(conn, name) == []
            assert await conn.run_sync(lambda sync: differences(sync, metadata)) == []
    finally:
        await engine.dispose()


async def test_control_a_column_that_only_the_code_knows_is_found(world: World) -> None:
    engine = engine_for(world.settings("submission").postgres, schema="notifier", application="test")
    try:
        await migrate(engine, "notifier")
        async with engine.connect() as conn:
            await conn.execute(text("alter table owners add column forgotten text"))
            metadata = import_module("services.notifier.tables").metadata
            assert await conn.run_sync(lambda sync: differences(sync, metadata))
    finally:
        await engine.dispose()


async def test_a_database_that_is_behind_says_which_migrations_and_one_that_is_ahead_says_none(world: World) -> None:
    engine = engine_for(world.settings("submission").postgres, schema="lineage", application="test")
    try:
        await migrate(engine, "lineage")
        async with engine.connect() as conn:
            for have, missing in (("0001", known("lineage")[1:]), ("9999", [])):
                await conn.execute(text("update schema_version set version_num = :have"), {"have": have})
                assert await pending(conn, "lineage") == missing
    finally:
        await engine.dispose()
