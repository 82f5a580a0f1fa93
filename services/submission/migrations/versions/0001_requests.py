"""Requests and launches."""

from alembic import op

from shared.messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("set local search_path = submission")
    create_messaging_tables(op.execute)
    op.execute("""
        create table requests (
            tenant text not null, run_id uuid not null,
            seq int not null default 0, digest text,
            status text not null, previous_status text, decision_number int not null default 0,
            command_id text, instance_id uuid, instance_name text, run_type text, flow_kind text,
            trigger text not null default 'manual', mode text, parameters jsonb not null default '{}', actor text,
            gate text, skip_if_ready boolean not null default false, wait_until timestamptz,
            blockers jsonb not null default '[]', blockers_total int not null default 0,
            code text, message text, warning text,
            input_versions jsonb not null default '{}', deployment text, orchestrator_run_id uuid,
            cancel_requested_at timestamptz,
            requested_at timestamptz not null, changed_at timestamptz not null,
            primary key (tenant, run_id),
            constraint requests_orchestrator_run_id unique (orchestrator_run_id)
        ) with (fillfactor = 75)
    """)
    op.execute("create index requests_newest on requests (tenant, requested_at desc, run_id)")
    op.execute("""
        create table launches (
            tenant text not null, run_id uuid not null, deployment text not null,
            asked_at timestamptz not null, due_at timestamptz not null, in_doubt boolean not null default false,
            lease_owner text, leased_until timestamptz, waits_seconds double precision not null default 0,
            primary key (tenant, run_id)
        ) with (fillfactor = 75)
    """)
