"""Flow runs that came back after they were lost; what the sweep found that the bridge had not; losses confirmed."""

from alembic import op

revision = "0004"
down_revision = "0003"

_DDL = (
    "alter table runs add column returned_at timestamptz",
    "alter table observations add column returned boolean not null default false",
    "alter table sweeps add column found bigint not null default 0",
    "alter table sweeps add column found_at timestamptz",
    "alter table sweeps add column confirmed_at timestamptz",
    """
    create type run_states_2 as (
        run_id uuid, name text, state_id uuid, state_at timestamptz, state_type text, state_name text,
        state_message text, state_status text, other_status text, other_at timestamptz, other_id uuid,
        run_count integer, first_running_at timestamptz, source_started_at timestamptz, gone_at timestamptz,
        returned_at timestamptz,
        status text, sub_state text, previous_status text, attempt integer, progress_pct double precision, step text,
        started_at timestamptz, ended_at timestamptz, duration_seconds double precision, outputs text,
        outputs_ref text, error jsonb, knowledge_time timestamptz, occurred_at timestamptz, supersedes bigint,
        seq bigint, terminal_seq bigint, said_progress_at timestamptz, said_progress_n bigint,
        cancel_unconfirmed_at timestamptz, settled boolean, rechecks integer, ended_seen_at timestamptz
    )
    """,
    """
    create type seen_states_2 as (
        flow_run_id uuid, state_id uuid, state_at timestamptz, state_type text, state_name text, state_message text,
        run_count integer, start_time timestamptz, gone boolean, returned boolean, source text
    )
    """,
)


def upgrade() -> None:
    for statement in _DDL:
        op.execute(statement)
