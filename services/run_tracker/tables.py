"""Every table of run_tracker. `runs` holds the facts of a run and what it shows, one row per run.

The fact not to break: no index on a column that changes with a run's states (updates stay in the page, fillfactor 75);
the two partial indexes change at its link, its end and its settling only.
"""

from datetime import date
from typing import Any

from runtide_schemas.metrics import HEADLINE
from runtide_schemas.vocabulary import RunType, action_prefix
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from shared.messaging.tables import messaging_tables

metadata = MetaData()
messaging_tables(metadata)

_AT = DateTime(timezone=True)
_EMPTY = text("'{}'::jsonb")

runs = Table(
    "runs", metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("run_type", Text, nullable=False),
    Column("instance_id", Uuid, nullable=False),
    Column("instance_name", Text, nullable=False),
    Column("flow_kind", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("created_at", _AT, nullable=False),
    Column("parameters", JSONB, nullable=False, server_default=_EMPTY),
    Column("actor", Text),
    Column("deployment", Text),
    Column("name", Text),
    Column("orchestrator_kind", Text, nullable=False, server_default=text("'prefect'")),
    Column("orchestrator_run_id", Uuid),
    Column("reports", Text, nullable=False),
    Column("roles", JSONB, nullable=False, server_default=_EMPTY),
    Column("request_end", Text),
    Column("request_ended_at", _AT),
    Column("request_code", Text),
    Column("request_message", Text),
    Column("admitted_inputs", JSONB, nullable=False, server_default=_EMPTY),
    Column("cancel_requested_at", _AT),
    Column("state_id", Uuid),
    Column("state_at", _AT),
    Column("state_type", Text),
    Column("state_name", Text),
    Column("state_message", Text),
    Column("state_status", Text),
    Column("other_status", Text),
    Column("other_at", _AT),
    Column("other_id", Uuid),
    Column("run_count", Integer, nullable=False),
    Column("first_running_at", _AT),
    Column("source_started_at", _AT),
    Column("gone_at", _AT),
    Column("returned_at", _AT),
    Column("reported_attempt", Integer, nullable=False),
    Column("outputs_attempt", Integer, nullable=False),
    Column("outputs_n", BigInteger, nullable=False),
    Column("sealed_n", BigInteger),
    Column("sealed_at", _AT),
    Column("reported_at", _AT),
    Column("reported_inputs", JSONB, nullable=False, server_default=_EMPTY),
    Column("reported_error", JSONB),
    Column("metrics_json", JSONB, nullable=False, server_default=_EMPTY),
    Column("artifacts_ref", JSONB, nullable=False, server_default=_EMPTY),
    Column("output_digest", Text),
    Column("schema_digest", Text),
    Column("last_data_date", Date),
    Column("rows_processed", BigInteger),
    Column("empty", Boolean, nullable=False),
    Column("warnings", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("progress_attempt", Integer, nullable=False),
    Column("progress_n", BigInteger, nullable=False),
    Column("progress_value", Double),
    Column("progress_step", Text),
    Column("progress_detail", Text),
    Column("progress_at", _AT),
    Column("unreported_attempt", Integer),
    Column("cancel_unconfirmed_at", _AT),
    Column("silent_since", _AT),
    Column("clock_at", _AT),
    Column("status", Text, nullable=False),
    Column("sub_state", Text),
    Column("previous_status", Text),
    Column("attempt", Integer, nullable=False),
    Column("progress_pct", Double),
    Column("step", Text),
    Column("started_at", _AT),
    Column("ended_at", _AT),
    Column("duration_seconds", Double),
    Column("outputs", Text),
    Column("outputs_ref", Text),
    Column("input_versions", JSONB, nullable=False, server_default=_EMPTY),
    Column("error", JSONB),
    Column("knowledge_time", _AT),
    Column("occurred_at", _AT),
    Column("supersedes", BigInteger),
    Column("seq", BigInteger, nullable=False),
    Column("terminal_seq", BigInteger),
    Column("said_progress_at", _AT),
    Column("said_progress_n", BigInteger, nullable=False),
    Column("said_decile", Integer, nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("rechecks", Integer, nullable=False),
    Column("ended_seen_at", _AT),
    postgresql_with={"fillfactor": "75"},
)  # fmt: skip
Index("runs_orchestrator", runs.c.orchestrator_run_id, unique=True)
Index("runs_unsettled", runs.c.orchestrator_run_id, postgresql_where=text("not settled"))
Index("runs_by_age", runs.c.tenant, runs.c.created_at.desc(), runs.c.run_id.desc())
Index("runs_of_instance", runs.c.instance_id, runs.c.created_at.desc(), runs.c.run_id.desc())

run_history = Table(
    "run_history", metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("entry", Text, primary_key=True),
    Column("at", _AT, nullable=False),
    Column("source", Text, nullable=False),
    Column("status", Text),
    Column("sub_state", Text),
    Column("attempt", Integer),
    Column("detail", Text),
    Column("message", Text),
    Column("seq", BigInteger),
)  # fmt: skip

observations = Table(
    "observations", metadata,
    Column("flow_run_id", Uuid, primary_key=True),
    Column("state_id", Uuid, primary_key=True),
    Column("state_at", _AT, nullable=False),
    Column("state_type", Text, nullable=False),
    Column("state_name", Text, nullable=False),
    Column("state_message", Text),
    Column("run_count", Integer, nullable=False),
    Column("start_time", _AT),
    Column("gone", Boolean, nullable=False),
    Column("returned", Boolean, nullable=False, server_default=text("false")),
    Column("source", Text, nullable=False),
)  # fmt: skip

waiting_flow_runs = Table(
    "waiting_flow_runs", metadata,
    Column("flow_run_id", Uuid, primary_key=True),
    Column("flow_run_name", Text),
    Column("deployment", Text),
    Column("claimed_run_id", Uuid),
    Column("left_scheduled_at", _AT),
    Column("seen_at", _AT, nullable=False),
)  # fmt: skip
Index("waiting_flow_runs_claim", waiting_flow_runs.c.claimed_run_id)
Index("waiting_flow_runs_deployment", waiting_flow_runs.c.deployment)

reports = Table(
    "reports", metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("at", _AT, nullable=False),
    Column("body", JSONB, nullable=False),
)  # fmt: skip

artifacts = Table(
    "artifacts", metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("ref", Text, nullable=False),
    Column("size_bytes", BigInteger),
    Column("sha256", Text),
    Column("content_type", Text),
    Column("reported_at", _AT, nullable=False),
)  # fmt: skip

known_flows = Table(
    "known_flows", metadata,
    Column("instance_id", Uuid, primary_key=True),
    Column("flow_kind", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("instance_name", Text, nullable=False),
    Column("instance_type", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("reports", Text, nullable=False),
    Column("roles", JSONB, nullable=False),
    Column("registered_at", _AT, nullable=False),
    Column("retired", Boolean, nullable=False),
    Column("seq", BigInteger, nullable=False),
)  # fmt: skip
Index("known_flows_deployment", known_flows.c.deployment)

seen_requests = Table(
    "seen_requests", metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("cancel_requested_at", _AT),
    Column("actor", Text),
    Column("occurred_at", _AT, nullable=False),
    Column("seq", BigInteger, nullable=False),
    postgresql_with={"fillfactor": "75"},
)  # fmt: skip

cancel_intents = Table(
    "cancel_intents", metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("requested_at", _AT, primary_key=True),
    Column("actor", Text),
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try_at", _AT, nullable=False),
    Column("answer", Text),
)  # fmt: skip
Index("cancel_intents_open", cancel_intents.c.next_try_at, postgresql_where=text("state = 'wanted'"))

sweeps = Table(
    "sweeps", metadata,
    Column("name", Text, primary_key=True),
    Column("as_of", _AT),
    Column("server", Text),
    Column("refused", Text),
    Column("found", BigInteger, nullable=False, server_default=text("0")),
    Column("found_at", _AT),
    Column("confirmed_at", _AT),
)  # fmt: skip

_TYPES: dict[type, TypeEngine[Any]] = {int: BigInteger(), float: Double(), str: Text(), date: Date()}


def extension_name(run_type: str) -> str:
    """`BacktestRun` → `backtest_runs`."""
    return f"{action_prefix(RunType(run_type))}s"


extensions: dict[RunType, Table] = {
    run_type: Table(
        extension_name(run_type), metadata,
        Column("run_id", Uuid, ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
        *(Column(name, _TYPES[kind]) for name, kind in columns.items()),
        postgresql_with={"fillfactor": "75"},
    )
    for run_type, columns in HEADLINE.items()
}  # fmt: skip
