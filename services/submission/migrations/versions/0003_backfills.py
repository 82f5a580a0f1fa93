"""A range of data dates in one request, how far it is, and whose request a child is."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("set local search_path = submission")
    op.execute(
        "alter table requests add column parent_run_id uuid, add column backfill jsonb, add column progress jsonb"
    )
