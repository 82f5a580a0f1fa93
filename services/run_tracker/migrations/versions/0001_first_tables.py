"""The first tables of run_tracker."""

from alembic import op

from shared.messaging.tables import create_messaging_tables

revision = "0001"
down_revision = None

_DDL = (
    """
    create table artifacts (
        run_id uuid not null, attempt integer not null, name text not null, n bigint not null,
        ref text not null, size_bytes bigint, sha256 text, content_type text, reported_at timestamptz not null,
        primary key (run_id, attempt, name)
    )
    """,
    """
    create table cancel_intents (
        run_id uuid not null, requested_at timestamptz not null, actor text, state text not null,
        tries integer not null, next_try_at timestamptz not null, answer text,
        primary key (run_id, requested_at)
    )
    """,
    "create index cancel_intents_open on cancel_intents (next_try_at) where state = 'wanted'",
    """
    create table known_flows (
        instance_id uuid not null, flow_kind text not null, tenant text not null, instance_name text not null,
        instance_type text not null, deployment text not null, reports text not null, roles jsonb not null,
        registered_at timestamptz not null, retired boolean not null, seq bigint not null,
        primary key (instance_id, flow_kind)
    )
    """,
    "create index known_flows_deployment on known_flows (deployment)",
    """
    create table observations (
        flow_run_id uuid not null, state_id uuid not null, state_at timestamptz not null,
        state_type text not null, state_name text not null, state_message text, run_count integer not null,
        start_time timestamptz, gone boolean not null, source text not null, primary key (flow_run_id, state_id)
    )
    """,
    """
    create table reports (
        run_id uuid not null, tenant text not null, attempt integer not null, n bigint not null,
        kind text not null, at timestamptz not null, body jsonb not null,
        primary key (run_id, tenant, attempt, n)
    )
    """,
    """
    create table run_history (
        run_id uuid not null, entry text not null, at timestamptz not null, source text not null, status text,
        sub_state text, attempt integer, detail text, message text, seq bigint, primary key (run_id, entry)
    )
    """,
    """
    create table runs (
        run_id uuid not null, tenant text not null, run_type text not null, instance_id uuid not null,
        instance_name text not null, flow_kind text not null, trigger text not null, mode text not null,
        created_at timestamptz not null, parameters jsonb default '{}'::jsonb not null, actor text,
        deployment text, name text, orchestrator_kind text default 'prefect' not null, orchestrator_run_id uuid,
        reports text not null, roles jsonb default '{}'::jsonb not null, request_end text,
        request_ended_at timestamptz, request_code text, request_message text,
        admitted_inputs jsonb default '{}'::jsonb not null, cancel_requested_at timestamptz, state_id uuid,
        state_at timestamptz, state_type text, state_name text, state_message text, state_status text,
        other_status text, other_at timestamptz, other_id uuid, run_count integer not null,
        first_running_at timestamptz, source_started_at timestamptz, gone_at timestamptz,
        reported_attempt integer not null, outputs_attempt integer not null, outputs_n bigint not null,
        sealed_n bigint, sealed_at timestamptz, reported_at timestamptz,
        reported_inputs jsonb default '{}'::jsonb not null, reported_error jsonb,
        metrics_json jsonb default '{}'::jsonb not null, artifacts_ref jsonb default '{}'::jsonb not null,
        output_digest text, last_data_date date, rows_processed bigint, empty boolean not null,
        warnings jsonb default '[]'::jsonb not null, progress_attempt integer not null,
        progress_n bigint not null, progress_value double precision, progress_step text, progress_detail text,
        progress_at timestamptz, unreported_attempt integer, cancel_unconfirmed_at timestamptz,
        clock_at timestamptz, status text not null, sub_state text, previous_status text,
        attempt integer not null, progress_pct double precision, step text, started_at timestamptz,
        ended_at timestamptz, duration_seconds double precision, outputs text, outputs_ref text,
        input_versions jsonb default '{}'::jsonb not null, error jsonb, knowledge_time timestamptz,
        occurred_at timestamptz, supersedes bigint, seq bigint not null, terminal_seq bigint,
        said_progress_at timestamptz, said_progress_n bigint not null, said_decile integer not null,
        settled boolean not null, rechecks integer not null, ended_seen_at timestamptz, primary key (run_id)
    ) with (fillfactor = 75)
    """,
    "create index runs_by_age on runs (tenant, created_at desc, run_id desc)",
    "create index runs_of_instance on runs (instance_id, created_at desc, run_id desc)",
    "create unique index runs_orchestrator on runs (orchestrator_run_id)",
    "create index runs_unsettled on runs (orchestrator_run_id) where not settled",
    """
    create table seen_requests (
        run_id uuid not null, tenant text not null, status text not null, cancel_requested_at timestamptz,
        actor text, occurred_at timestamptz not null, seq bigint not null, primary key (run_id, tenant)
    ) with (fillfactor = 75)
    """,
    """
    create table sweeps (
        name text not null, as_of timestamptz, server text, refused text, primary key (name)
    )
    """,
    """
    create table waiting_flow_runs (
        flow_run_id uuid not null, flow_run_name text, deployment text, claimed_run_id uuid,
        left_scheduled_at timestamptz, seen_at timestamptz not null, primary key (flow_run_id)
    )
    """,
    "create index waiting_flow_runs_claim on waiting_flow_runs (claimed_run_id)",
    "create index waiting_flow_runs_deployment on waiting_flow_runs (deployment)",
    """
    create table backtest_runs (
        run_id uuid not null, total_return double precision, annualized_return double precision,
        volatility double precision, sharpe_ratio double precision, sortino_ratio double precision,
        calmar_ratio double precision, max_drawdown double precision, win_rate double precision,
        profit_factor double precision, num_trades bigint, turnover double precision, var_95 double precision,
        cvar_95 double precision, alpha double precision, beta double precision, primary key (run_id),
        foreign key(run_id) references runs (run_id) on delete cascade
    ) with (fillfactor = 75)
    """,
    """
    create table experiment_runs (
        run_id uuid not null, rows_computed bigint, nan_pct double precision, mean double precision,
        std double precision, min double precision, max double precision, skewness double precision,
        kurtosis double precision, primary key (run_id),
        foreign key(run_id) references runs (run_id) on delete cascade
    ) with (fillfactor = 75)
    """,
    """
    create table inference_runs (
        run_id uuid not null, num_predictions bigint, mean_prediction double precision,
        std_prediction double precision, confidence_mean double precision, latency_ms double precision,
        primary key (run_id), foreign key(run_id) references runs (run_id) on delete cascade
    ) with (fillfactor = 75)
    """,
    """
    create table monitoring_runs (
        run_id uuid not null, monitoring_type text, psi double precision, ks_statistic double precision,
        drift_score double precision, direction_accuracy double precision, ic double precision,
        ic_ir double precision, hit_rate double precision, missing_pct double precision,
        outlier_pct double precision, duplicate_pct double precision, staleness_hours double precision,
        primary key (run_id), foreign key(run_id) references runs (run_id) on delete cascade
    ) with (fillfactor = 75)
    """,
    """
    create table pipeline_runs (
        run_id uuid not null, rows_added bigint, rows_fetched bigint, rows_inserted bigint, rows_updated bigint,
        rows_deleted bigint, rows_processed bigint, last_date date, last_data_date date,
        duration_seconds double precision, bytes_processed bigint, primary key (run_id),
        foreign key(run_id) references runs (run_id) on delete cascade
    ) with (fillfactor = 75)
    """,
    """
    create table portfolio_optimization_runs (
        run_id uuid not null, expected_return double precision, expected_volatility double precision,
        expected_sharpe double precision, diversification_ratio double precision, effective_n double precision,
        concentration double precision, gross_exposure double precision, net_exposure double precision,
        solver_status text, iterations bigint, active_constraints bigint, primary key (run_id),
        foreign key(run_id) references runs (run_id) on delete cascade
    ) with (fillfactor = 75)
    """,
    """
    create table training_runs (
        run_id uuid not null, train_rmse double precision, train_mae double precision,
        train_r2 double precision, train_ic double precision, val_rmse double precision,
        val_mae double precision, val_r2 double precision, val_ic double precision, accuracy double precision,
        auc double precision, precision double precision, recall double precision, f1 double precision,
        num_features bigint, training_samples bigint, artifact_version text, primary key (run_id),
        foreign key(run_id) references runs (run_id) on delete cascade
    ) with (fillfactor = 75)
    """,
)


def upgrade() -> None:
    create_messaging_tables(op.execute)
    for statement in _DDL:
        op.execute(statement)
