"""The migrations and the tables in code are the same database."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from services.run_tracker import tables
from services.run_tracker.store import SEEN, STATES, Entry
from tests.component.run_tracker.desk import Desk


async def test_the_migrated_database_is_what_tables_py_says(desk: Desk) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": False})
        found = compare_metadata(context, tables.metadata)
        return [change for change in found if "schema_version" not in str(change)]

    async with desk.engine.connect() as conn:
        assert await conn.run_sync(differences) == []


@pytest.mark.parametrize(
    ("row_type", "table", "written"),
    [("run_states_2", "runs", ("run_id", *STATES)), ("run_entries", "run_history", Entry._fields),
     ("seen_states_2", "observations", SEEN)],
)  # fmt: skip
async def test_a_row_type_has_the_columns_that_are_written_in_their_order_and_of_the_types_of_their_table(
    desk: Desk, row_type: str, table: str, written: tuple[str, ...]
) -> None:
    async def columns(of: str) -> list[tuple[str, str]]:
        rows = await desk.rows(
            "select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute "
            "where attrelid = cast(cast(:of as text) as regclass) and attnum > 0 and not attisdropped order by attnum",
            of=of,
        )
        return [(row["name"], row["type"]) for row in rows]

    types = dict(await columns(table))
    assert await columns(row_type) == [(name, types[name]) for name in written]
