"""The first tables of lineage."""

from alembic import op

from shared.messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DDL = (
    "create table tenants (tenant text primary key)",
    """
    create table instances (
        instance_id uuid primary key, tenant text not null, name text not null, instance_type text not null,
        owner text, update_frequency jsonb, definition_digest text, definition_changed_at timestamptz,
        retired_at timestamptz, status text not null, old_status text, cause jsonb,
        seq bigint not null, announced_at timestamptz,
        heard jsonb not null,
        constraint instances_tenant_name unique (tenant, name) deferrable initially deferred
    ) with (fillfactor = 75)
    """,
    """
    create table flows (
        instance_id uuid not null, kind text not null, tenant text not null, place int not null,
        deployment text not null, on_upstream text not null, reports text not null, max_open_runs int not null,
        completion_id uuid, newest_end_failed boolean not null,
        last_run_id uuid, last_run_at timestamptz, last_data_date date, open_run_id uuid,
        freshness text not null, reason text, stale_by_version text, old_status text,
        primary key (instance_id, kind)
    ) with (fillfactor = 75)
    """,
    "create index flows_of_tenant on flows (tenant)",
    """
    create table edges (
        instance_id uuid not null, flow_kind text not null,
        upstream_instance_id uuid not null, upstream_flow_kind text, kind text not null,
        tenant text not null, place int not null, all_flows boolean not null,
        upstream_name text not null, role text not null, optional boolean not null, max_lag int,
        constraint edges_between_flows
            unique nulls not distinct (instance_id, flow_kind, upstream_instance_id, upstream_flow_kind, kind)
    )
    """,
    "create index edges_of_tenant on edges (tenant)",
    """
    create table runs (
        run_id uuid primary key, tenant text not null, instance_id uuid not null, kind text not null,
        seq bigint not null, status text not null, mode text not null, trigger text not null, attempt int not null,
        started_at timestamptz, end_status text, ended_at timestamptz, end_attempt int, decides boolean not null
    ) with (fillfactor = 75)
    """,
    """
    create index runs_ended on runs (tenant, instance_id, kind, ended_at desc, run_id desc)
    where ended_at is not null
    """,
    "create index runs_running on runs (tenant, instance_id, kind) where status = 'running'",
    """
    create table versions (
        version_id uuid primary key, run_id uuid not null, attempt int not null,
        tenant text not null, instance_id uuid not null, kind text not null,
        started_at timestamptz, ended_at timestamptz not null, minted_at timestamptz not null,
        digest text, sealed_late boolean not null, last_data_date date, rows_processed bigint, artifact_version text,
        reads jsonb not null, confirms uuid, withdrawn_at timestamptz,
        constraint versions_run_attempt unique (run_id, attempt)
    )
    """,
    "create index versions_valid on versions (tenant, instance_id, kind, ended_at) where withdrawn_at is null",
    "create index versions_dates on versions (tenant, instance_id, kind, last_data_date) where withdrawn_at is null",
    """
    create table open_requests (
        run_id uuid primary key, tenant text not null, instance_id uuid not null, instance_name text, kind text,
        gate text not null, skip_if_ready boolean not null, wait_until timestamptz, parameters jsonb not null,
        state text not null, shown jsonb not null, number int not null, seq bigint not null,
        asked_at timestamptz not null
    ) with (fillfactor = 75)
    """,
    "create index open_requests_live on open_requests (tenant) where state <> 'ended'",
    """
    create table decisions (
        run_id uuid not null, number int not null, tenant text not null, answer text not null,
        decided_at timestamptz not null, said jsonb not null, seen jsonb not null,
        primary key (run_id, number)
    )
    """,
    "create unique index decisions_last on decisions (run_id) where answer <> 'request.parked'",
    "create table refusals (activity_id uuid primary key, refused_at timestamptz not null)",
)


def upgrade() -> None:
    create_messaging_tables(op.execute)
    for statement in _DDL:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
