"""Owners and activities."""

from alembic import op

from shared.messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("set local search_path = notifier")
    create_messaging_tables(op.execute)
    op.execute("""
        create table owners (
            kind text not null, entity_id uuid not null, tenant text not null,
            primary key (kind, entity_id)
        )
    """)
    op.execute("""
        create table activities (
            activity_id uuid primary key, tenant text not null, actor text,
            resource_type text not null, resource_id text not null, action text not null,
            payload jsonb not null, correlation_id text, occurred_at timestamptz not null
        )
    """)
    op.execute("create index activities_newest on activities (tenant, occurred_at desc, activity_id)")
    op.execute("create index activities_of on activities (tenant, resource_id, occurred_at desc)")
