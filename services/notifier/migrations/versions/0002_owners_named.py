"""When an owner was named, so that those of old runs are forgotten. What is there is taken to be named now."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("set local search_path = notifier")
    op.execute("alter table owners add column named_at timestamptz not null default now()")
    op.execute("alter table owners alter column named_at drop default")
    op.execute("create index owners_of_runs on owners (named_at) where kind = 'run'")
