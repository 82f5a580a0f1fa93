"""What the columns of a run's output are, beside what they hold."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table runs add column schema_digest text")


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
