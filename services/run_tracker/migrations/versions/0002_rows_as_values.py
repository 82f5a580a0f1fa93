"""Types for the rows that every batch writes: one array of rows instead of one array per column (docs/adr/0013).

A type is never altered: whoever needs another column makes another type beside it.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

_DDL = (
    """
    create type run_states as (
        run_id uuid, name text, state_id uuid, state_at timestamptz, state_type text, state_name text,
        state_message text, state_status text, other_status text, other_at timestamptz, other_id uuid,
        run_count integer, first_running_at timestamptz, source_started_at timestamptz, gone_at timestamptz,
        status text, sub_state text, previous_status text, attempt integer, progress_pct double precision, step text,
        started_at timestamptz, ended_at timestamptz, duration_seconds double precision, outputs text,
        outputs_ref text, error jsonb, knowledge_time timestamptz, occurred_at timestamptz, supersedes bigint,
        seq bigint, terminal_seq bigint, said_progress_at timestamptz, said_progress_n bigint,
        cancel_unconfirmed_at timestamptz, settled boolean, rechecks integer, ended_seen_at timestamptz
    )
    """,
    """
    create type run_entries as (
        run_id uuid, entry text, at timestamptz, source text, status text, sub_state text, attempt integer,
        detail text, message text, seq bigint
    )
    """,
    """
    create type seen_states as (
        flow_run_id uuid, state_id uuid, state_at timestamptz, state_type text, state_name text, state_message text,
        run_count integer, start_time timestamptz, gone boolean, source text
    )
    """,
)


def upgrade() -> None:
    for statement in _DDL:
        op.execute(statement)
