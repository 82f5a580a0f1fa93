"""Backfills: the dates of those that go on, and versions that never become current."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_DDL = (
    """
    alter table open_requests
        add column trigger text not null default 'manual', add column backfill jsonb, add column ended_as text
    """,
    """
    create table backfill_dates (
        parent_run_id uuid not null, place int not null, first date not null, last date not null,
        run_id uuid not null, state text not null,
        primary key (parent_run_id, place)
    ) with (fillfactor = 75)
    """,
    "create index backfill_dates_by_state on backfill_dates (parent_run_id, state, place)",
    "alter table versions add column is_backfill boolean not null default false",
    "drop index versions_valid",
    """
    create index versions_valid on versions (tenant, instance_id, kind, ended_at)
    where withdrawn_at is null and not is_backfill
    """,
    "drop index versions_dates",
    """
    create index versions_dates on versions (tenant, instance_id, kind, last_data_date)
    where withdrawn_at is null and not is_backfill
    """,
    """
    create index runs_decided on runs (tenant, instance_id, kind, ended_at desc, run_id desc)
    where ended_at is not null and decides
    """,
)


def upgrade() -> None:
    op.execute("set local search_path = lineage")
    for statement in _DDL:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
