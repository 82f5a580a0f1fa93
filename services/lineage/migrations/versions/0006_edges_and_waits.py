"""The columns of versions for schema edges; how long automatic refreshes wait, and how far apart they lie."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_DDL = (
    "alter table versions add column schema_digest text, add column schema_since uuid",
    """
    alter table flows
        add column max_wait interval, add column min_interval interval, add column last_admitted_at timestamptz
    """,
    """
    alter table open_requests
        add column mode text not null default 'incremental',
        add column due_at timestamptz, add column stands_for text
    """,
    # until now a request without a deadline was one of lineage's own, and what is parked was looked at by its deadline
    "update open_requests set trigger = 'upstream' where wait_until is null and backfill is null "
    "and trigger = 'manual' and state in ('asked', 'parked')",
    "update open_requests set due_at = wait_until where state = 'parked'",
)


def upgrade() -> None:
    for statement in _DDL:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
