"""Calendars, which belong to no tenant: their sessions, and what was entered by hand. What the clock says of flows."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DDL = (
    """
    create table calendars (
        code text primary key, zone text not null, first_day date not null, last_day date not null,
        source text not null, revision uuid not null, synced_at timestamptz not null, synced_by text not null
    )
    """,
    """
    create table calendar_sessions (
        code text not null, day date not null, closes_at time, primary key (code, day)
    )
    """,
    """
    create table calendar_exceptions (
        code text not null, day date not null, kind text not null, closes_at time, reason text not null,
        actor text not null, entered_at timestamptz not null, primary key (code, day, kind)
    )
    """,
    "alter table instances add column delay jsonb, add column status_order jsonb",
    # date rules that were kept before anybody asked them
    """
    insert into due (kind, ref, due_at)
    select 'date', instance_id::text, now() from instances where update_frequency is not null and retired_at is null
    """,
)


def upgrade() -> None:
    for statement in _DDL:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
