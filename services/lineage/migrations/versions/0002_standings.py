"""One narrow row per instance for the answer last given, and a number per tenant for each change of it."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_DDL = (
    "alter table tenants add column revision bigint not null default 0",
    """
    create table standings (
        instance_id uuid primary key, tenant text not null, revision bigint not null, seq bigint not null,
        announced_at timestamptz, status text not null, old_status text, cause jsonb, answers jsonb not null
    ) with (fillfactor = 50)
    """,
    """
    insert into standings
    select i.instance_id, i.tenant, 0, i.seq, i.announced_at, i.status, i.old_status, i.cause, coalesce((
        select jsonb_object_agg(f.kind, jsonb_build_array(f.freshness, f.reason, f.stale_by_version, f.old_status))
        from flows f where f.instance_id = i.instance_id
    ), '{}')
    from instances i
    """,
    "create index standings_of_tenant on standings (tenant)",
    """
    alter table instances
        drop column seq, drop column announced_at, drop column status, drop column old_status, drop column cause
    """,
    """
    alter table flows
        drop column freshness, drop column reason, drop column stale_by_version, drop column old_status
    """,
    "alter table open_requests add column revision bigint not null default 0",
)


def upgrade() -> None:
    for statement in _DDL:
        op.execute(statement)
