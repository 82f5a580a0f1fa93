"""Alembic's environment: the connection and the service are handed in by `shared.migrate`."""

from alembic import context

from shared.revisions import VERSION_TABLE

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    version_table=VERSION_TABLE,
    version_table_schema=attributes["service"],
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
