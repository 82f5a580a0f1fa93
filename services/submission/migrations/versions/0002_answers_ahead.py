"""Answers that came before their request."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("set local search_path = submission")
    op.execute("alter table requests add column ahead jsonb not null default '[]'")
