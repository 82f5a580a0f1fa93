"""submission's tables. A request is keyed by tenant and run id, so that nobody cancels ahead for another tenant."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.messaging.tables import messaging_tables

metadata = MetaData()
messaging_tables(metadata)
_time = DateTime(timezone=True)

requests = Table(
    "requests", metadata,
    Column("tenant", Text, primary_key=True),
    Column("run_id", Uuid, primary_key=True),
    Column("seq", Integer, nullable=False, server_default=text("0")),
    Column("digest", Text),
    Column("status", Text, nullable=False),
    Column("previous_status", Text),
    Column("decision_number", Integer, nullable=False, server_default=text("0")),
    Column("command_id", Text),
    Column("instance_id", Uuid),
    Column("instance_name", Text),
    Column("run_type", Text),
    Column("flow_kind", Text),
    Column("trigger", Text, nullable=False, server_default=text("'manual'")),
    Column("mode", Text),
    Column("parameters", JSONB, nullable=False, server_default=text("'{}'")),
    Column("actor", Text),
    Column("gate", Text),
    Column("skip_if_ready", Boolean, nullable=False, server_default=text("false")),
    Column("wait_until", _time),
    Column("blockers", JSONB, nullable=False, server_default=text("'[]'")),
    Column("blockers_total", Integer, nullable=False, server_default=text("0")),
    Column("code", Text),
    Column("message", Text),
    Column("warning", Text),
    Column("input_versions", JSONB, nullable=False, server_default=text("'{}'")),
    Column("deployment", Text),
    Column("orchestrator_run_id", Uuid),
    Column("cancel_requested_at", _time),
    Column("ahead", JSONB, nullable=False, server_default=text("'[]'")),
    Column("parent_run_id", Uuid),
    Column("backfill", JSONB),
    Column("progress", JSONB),
    Column("plan_id", Uuid),
    Column("on_behalf_of", Text),
    Column("planned_for", _time),
    Column("retries", JSONB),
    Column("requested_at", _time, nullable=False),
    Column("changed_at", _time, nullable=False),
    UniqueConstraint("orchestrator_run_id", name="requests_orchestrator_run_id"),
    postgresql_with={"fillfactor": "75"},
)  # fmt: skip
Index("requests_newest", requests.c.tenant, requests.c.requested_at.desc(), requests.c.run_id)
Index(
    "requests_of_chain", requests.c.tenant, text("(retries ->> 'first_run_id')"),
    postgresql_where=requests.c.retries.is_not(None),
)  # fmt: skip
Index("requests_of_parent", requests.c.parent_run_id, postgresql_where=requests.c.parent_run_id.is_not(None))
Index(
    "requests_undecided", requests.c.requested_at,
    postgresql_where=(requests.c.status == "requested") & (requests.c.seq > 0),
)  # fmt: skip

launches = Table(
    "launches", metadata,
    Column("tenant", Text, primary_key=True),
    Column("run_id", Uuid, primary_key=True),
    Column("deployment", Text, nullable=False),
    Column("asked_at", _time, nullable=False),
    Column("due_at", _time, nullable=False),
    Column("in_doubt", Boolean, nullable=False, server_default=text("false")),
    Column("lease_owner", Text),
    Column("leased_until", _time),
    Column("waits_seconds", Double, nullable=False, server_default=text("0")),
    postgresql_with={"fillfactor": "75"},
)  # fmt: skip
