"""What each snapshot said anew about each flow: append-only, with an age."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        create table status_events (
            event_id bigint generated always as identity primary key,
            tenant text not null, instance_id uuid not null, kind text not null, at timestamptz not null,
            seq bigint not null, old_status text, status text not null, old_freshness text, freshness text not null,
            rule int not null, reason text, old_version_id uuid, version_id uuid, open_run_id uuid,
            run_id uuid, above_instance_id uuid, above_kind text, message_id text,
            constraint status_events_of_flow unique (instance_id, kind, seq)
        )
    """)
    op.execute("create index status_events_age on status_events (at)")
    op.execute("create index open_requests_of_instance on open_requests (instance_id, asked_at)")


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
