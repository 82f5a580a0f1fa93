"""Since when nothing was heard of a run whose process should be alive."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("alter table runs add column silent_since timestamptz")


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
