"""Old runs are forgotten: which are old, and until when a tenant's past is taken as it was found."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_DDL = (
    "alter table tenants add column forgotten_until timestamptz",
    "create index runs_age on runs (ended_at) where ended_at is not null",
)


def upgrade() -> None:
    for statement in _DDL:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
