"""What a recursive request asked for, whose request it is, and when each ended."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        alter table open_requests
            add column actor text, add column parent_run_id uuid, add column asked jsonb not null default '[]',
            add column ended_at timestamptz
    """)


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
