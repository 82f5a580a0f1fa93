"""The migrations and the tables in code are the same database."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from services.run_tracker import tables
from tests.component.run_tracker.desk import Desk


async def test_the_migrated_database_is_what_tables_py_says(desk: Desk) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
        found = compare_metadata(context, tables.metadata)
        return [change for change in found if "schema_version" not in str(change)]

    async with desk.engine.connect() as conn:
        assert await conn.run_sync(differences) == []
