"""Plans that were shown, so that what was approved is what runs."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        create table plans (
            plan_id uuid primary key, tenant text not null, actor text not null, as_of timestamptz not null,
            instance_id uuid not null, kind text not null, skip_if_ready boolean not null,
            content jsonb not null, promises jsonb not null, digest text not null
        )
    """)
    op.execute("create index plans_age on plans (as_of)")
    op.execute("alter table open_requests add column plan_id uuid")


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
