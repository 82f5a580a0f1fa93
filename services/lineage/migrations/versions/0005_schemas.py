"""What the columns of each version are, and since when."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("alter table versions add column schema_digest text, add column schema_since uuid")


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
