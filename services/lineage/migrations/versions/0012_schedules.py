"""When flows run by themselves, and when they run once more after a failure."""

from alembic import op

revision = "0012"
down_revision = "0009"
branch_labels = None
depends_on = None

_DDL = (
    "alter table flows add column schedule jsonb, add column retry jsonb",
    "alter table open_requests add column planned_for timestamptz, add column retries jsonb",
    """
    create table schedules (
        instance_id uuid, kind text, tenant text not null, definition jsonb not null, planned_at timestamptz,
        paused_at timestamptz, paused_by text, last_planned_for timestamptz, last_run_id uuid, missed_at timestamptz,
        primary key (instance_id, kind)
    ) with (fillfactor = 75)
    """,
    "create index schedules_of_tenant on schedules (tenant)",
)


def upgrade() -> None:
    for statement in _DDL:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
