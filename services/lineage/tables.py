"""Every table of lineage. All rows of a tenant are written under the lock of its row in `tenants`.

`instances`, `flows` and `edges` are the definition and the facts, `standings` the answer last given; `runs` and
`versions` are what the runs said, from which every answer can be worked out again; `open_requests` and `decisions` are
what was asked and answered; `schedules` are when flows run by themselves, `backfill_dates` the dates of backfills that
have no end yet. `restatements` and `superseded_versions` are what was declared wrong, `version_reads` who read what,
and `taints` what follows from them. `status_events` are what was announced, for as long as it is kept.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    Interval,
    MetaData,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.messaging.tables import messaging_tables

metadata = MetaData()
messaging_tables(metadata)

_AT = DateTime(timezone=True)
_HOT = {"fillfactor": "75"}

tenants = Table(
    "tenants", metadata,
    Column("tenant", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False, server_default=text("0")),  # counts what was changed of it
    Column("forgotten_until", _AT),  # what ended before is as it was found then; null: nothing was forgotten
)  # fmt: skip

instances = Table(
    "instances", metadata,
    Column("instance_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("instance_type", Text, nullable=False),
    Column("owner", Text),
    Column("status_order", JSONB),
    Column("update_frequency", JSONB),
    Column("definition_digest", Text),
    Column("definition_changed_at", _AT),
    Column("retired_at", _AT),
    Column("delay", JSONB),
    Column("heard", JSONB, nullable=False),  # per partition the newest command applied: a replay changes nothing
    UniqueConstraint("tenant", "name", name="instances_tenant_name", deferrable=True, initially="deferred"),
    postgresql_with=_HOT,
)  # fmt: skip

flows = Table(
    "flows", metadata,
    Column("instance_id", Uuid, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("place", Integer, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("on_upstream", Text, nullable=False),
    Column("reports", Text, nullable=False),
    Column("max_open_runs", Integer, nullable=False),
    Column("max_wait", Interval),
    Column("min_interval", Interval),
    Column("schedule", JSONB),
    Column("retry", JSONB),
    Column("completion_id", Uuid),
    Column("newest_end_failed", Boolean, nullable=False),
    Column("last_run_id", Uuid),
    Column("last_run_at", _AT),
    Column("last_data_date", Date),
    Column("open_run_id", Uuid),
    Column("last_admitted_at", _AT),
    Column("superseded", Text),  # why its current version is, as rule 5 says it
    postgresql_with=_HOT,
)  # fmt: skip
Index("flows_of_tenant", flows.c.tenant)

standings = Table(
    "standings", metadata,
    Column("instance_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),  # of its tenant, by which it, its flows or its edges last changed
    Column("seq", BigInteger, nullable=False),
    Column("announced_at", _AT),
    Column("status", Text, nullable=False),
    Column("old_status", Text),
    Column("cause", JSONB),
    Column("answers", JSONB, nullable=False),  # flow kind → freshness, reason, why stale by version, old status, …
    postgresql_with={"fillfactor": "50"},
)  # fmt: skip
Index("standings_of_tenant", standings.c.tenant)

edges = Table(
    "edges", metadata,
    Column("instance_id", Uuid, nullable=False),
    Column("flow_kind", Text, nullable=False),
    Column("upstream_instance_id", Uuid, nullable=False),
    Column("upstream_flow_kind", Text),  # null: its main flow, whatever it will be
    Column("kind", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("place", Integer, nullable=False),
    Column("all_flows", Boolean, nullable=False),
    Column("upstream_name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("optional", Boolean, nullable=False),
    Column("max_lag", Integer),
    UniqueConstraint(
        "instance_id", "flow_kind", "upstream_instance_id", "upstream_flow_kind", "kind",
        name="edges_between_flows", postgresql_nulls_not_distinct=True,
    ),
)  # fmt: skip
Index("edges_of_tenant", edges.c.tenant)

runs = Table(
    "runs", metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("instance_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", _AT),
    Column("end_status", Text),
    Column("ended_at", _AT),
    Column("end_attempt", Integer),
    Column("decides", Boolean, nullable=False),
    postgresql_with=_HOT,
)  # fmt: skip
Index(
    "runs_ended", runs.c.tenant, runs.c.instance_id, runs.c.kind, runs.c.ended_at.desc(), runs.c.run_id.desc(),
    postgresql_where=runs.c.ended_at.is_not(None),
)  # fmt: skip
Index(
    "runs_decided", runs.c.tenant, runs.c.instance_id, runs.c.kind, runs.c.ended_at.desc(), runs.c.run_id.desc(),
    postgresql_where=text("ended_at is not null and decides"),
)  # fmt: skip
Index("runs_age", runs.c.ended_at, postgresql_where=runs.c.ended_at.is_not(None))
Index("runs_running", runs.c.tenant, runs.c.instance_id, runs.c.kind, postgresql_where=text("status = 'running'"))

versions = Table(
    "versions", metadata,
    Column("version_id", Uuid, primary_key=True),
    Column("run_id", Uuid, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("instance_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("started_at", _AT),
    Column("ended_at", _AT, nullable=False),
    Column("minted_at", _AT, nullable=False),  # the knowledge time
    Column("digest", Text),
    Column("sealed_late", Boolean, nullable=False),
    Column("last_data_date", Date),
    Column("rows_processed", BigInteger),
    Column("artifact_version", Text),
    Column("reads", JSONB, nullable=False),
    Column("confirms", Uuid),  # the version that this completion found unchanged; null: it minted its own
    Column("withdrawn_at", _AT),
    Column("is_backfill", Boolean, nullable=False, server_default=text("false")),  # never current: about the past
    Column("schema_digest", Text),
    Column("schema_since", Uuid),  # the completion with which the columns became others; null: nothing else is known
    UniqueConstraint("run_id", "attempt", name="versions_run_attempt"),
)  # fmt: skip
Index(
    "versions_valid", versions.c.tenant, versions.c.instance_id, versions.c.kind, versions.c.ended_at,
    postgresql_where=text("withdrawn_at is null and not is_backfill"),
)  # fmt: skip
Index(
    "versions_dates", versions.c.tenant, versions.c.instance_id, versions.c.kind, versions.c.last_data_date,
    postgresql_where=text("withdrawn_at is null and not is_backfill"),
)  # fmt: skip

open_requests = Table(
    "open_requests", metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("instance_id", Uuid, nullable=False),
    Column("instance_name", Text),
    Column("kind", Text),
    Column("gate", Text, nullable=False),
    Column("skip_if_ready", Boolean, nullable=False),
    Column("wait_until", _AT),
    Column("parameters", JSONB, nullable=False),
    Column("state", Text, nullable=False),  # asked | parked | admitted | ended
    Column("shown", JSONB, nullable=False),
    Column("number", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("asked_at", _AT, nullable=False),
    Column("actor", Text),
    Column("parent_run_id", Uuid),  # the request that asked for this one
    Column("plan_id", Uuid),
    Column("asked", JSONB, nullable=False, server_default=text("'[]'")),  # what this recursive one asked for
    Column("ended_at", _AT),
    Column("revision", BigInteger, nullable=False, server_default=text("0")),
    Column("trigger", Text, nullable=False, server_default=text("'manual'")),
    Column("backfill", JSONB),
    Column("ended_as", Text),
    Column("mode", Text, nullable=False, server_default=text("'incremental'")),
    Column("due_at", _AT),  # when it is looked at again by the clock alone
    Column("stands_for", Text),  # the change that would have asked, had this one not waited
    Column("planned_for", _AT),  # the instant of its flow's schedule
    Column("retries", JSONB),  # the run that it does over
    postgresql_with=_HOT,
)  # fmt: skip
Index("open_requests_of_instance", open_requests.c.instance_id, open_requests.c.asked_at)
Index("open_requests_live", open_requests.c.tenant, postgresql_where=text("state <> 'ended'"))

schedules = Table(
    "schedules", metadata,
    Column("instance_id", Uuid, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("definition", JSONB, nullable=False),  # by which it was planned
    Column("planned_at", _AT),  # the next instant; null: paused, retired, or there is none
    Column("paused_at", _AT),
    Column("paused_by", Text),
    Column("last_planned_for", _AT),
    Column("last_run_id", Uuid),
    Column("missed_at", _AT),  # the newest instant that nobody ran
    postgresql_with=_HOT,
)  # fmt: skip
Index("schedules_of_tenant", schedules.c.tenant)

backfill_dates = Table(
    "backfill_dates", metadata,
    Column("parent_run_id", Uuid, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("first", Date, nullable=False),
    Column("last", Date, nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("state", Text, nullable=False),  # waiting | open | done | failed | cancelled
    postgresql_with=_HOT,
)  # fmt: skip
Index("backfill_dates_by_state", backfill_dates.c.parent_run_id, backfill_dates.c.state, backfill_dates.c.place)

decisions = Table(
    "decisions", metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("decided_at", _AT, nullable=False),
    Column("said", JSONB, nullable=False),  # the message
    Column("seen", JSONB, nullable=False),  # flow → status and version, as they were
)  # fmt: skip
Index("decisions_last", decisions.c.run_id, unique=True, postgresql_where=text("answer <> 'request.parked'"))

status_events = Table(
    "status_events", metadata,
    Column("event_id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("instance_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", _AT, nullable=False),
    Column("seq", BigInteger, nullable=False),  # of the snapshot that said it
    Column("old_status", Text),
    Column("status", Text, nullable=False),
    Column("old_freshness", Text),
    Column("freshness", Text, nullable=False),
    Column("rule", Integer, nullable=False),
    Column("reason", Text),
    Column("old_version_id", Uuid),
    Column("version_id", Uuid),
    Column("open_run_id", Uuid),
    Column("run_id", Uuid),  # of the root cause
    Column("above_instance_id", Uuid),  # the flow by which it came; null: it began here
    Column("above_kind", Text),
    Column("message_id", Text),
    UniqueConstraint("instance_id", "kind", "seq", name="status_events_of_flow"),
)  # fmt: skip
Index("status_events_age", status_events.c.at)

plans = Table(
    "plans", metadata,
    Column("plan_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("as_of", _AT, nullable=False),
    Column("instance_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("skip_if_ready", Boolean, nullable=False),
    Column("content", JSONB, nullable=False),  # what was shown
    Column("promises", JSONB, nullable=False),  # what of it must still be true when it is run
    Column("digest", Text, nullable=False),  # of the promises
)  # fmt: skip
Index("plans_age", plans.c.as_of)

refusals = Table(
    "refusals", metadata,
    Column("activity_id", Uuid, primary_key=True),
    Column("refused_at", _AT, nullable=False),
)  # fmt: skip

# Calendars belong to no tenant; they are written without a tenant's lock.
calendars = Table(
    "calendars", metadata,
    Column("code", Text, primary_key=True),
    Column("zone", Text, nullable=False),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),  # the horizon
    Column("source", Text, nullable=False),
    Column("revision", Uuid, nullable=False),  # another one with each change of what is known about it
    Column("synced_at", _AT, nullable=False),
    Column("synced_by", Text, nullable=False),
)  # fmt: skip

calendar_sessions = Table(
    "calendar_sessions", metadata,
    Column("code", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("closes_at", Time),  # where that is earlier than usual
)  # fmt: skip

calendar_exceptions = Table(
    "calendar_exceptions", metadata,
    Column("code", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("kind", Text, primary_key=True),  # closure | early_close
    Column("closes_at", Time),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("entered_at", _AT, nullable=False),
)  # fmt: skip

version_reads = Table(
    "version_reads", metadata,
    Column("version_id", Uuid, primary_key=True),  # that the attempt made, or would have made: each that has ended
    Column("role", Text, primary_key=True),
    Column("upstream_version_id", Uuid, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("attempt", Integer, nullable=False),
)  # fmt: skip
Index("version_reads_of", version_reads.c.upstream_version_id)
Index("versions_confirming", versions.c.confirms, postgresql_where=versions.c.confirms.is_not(None))

restatements = Table(
    "restatements", metadata,
    Column("restatement_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("instance_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("version_id", Uuid),  # null: every version that the dates reach
    Column("first_data_date", Date, nullable=False),
    Column("last_data_date", Date, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("command_id", Text, nullable=False),
    Column("declared_at", _AT, nullable=False),
)  # fmt: skip
Index("restatements_newest", restatements.c.tenant, restatements.c.declared_at.desc(), restatements.c.restatement_id)

superseded_versions = Table(
    "superseded_versions", metadata,
    Column("restatement_id", Uuid, primary_key=True),
    Column("version_id", Uuid, primary_key=True),
)  # fmt: skip
Index("superseded_versions_by", superseded_versions.c.version_id)

taints = Table(
    "taints", metadata,
    Column("restatement_id", Uuid, primary_key=True),
    Column("version_id", Uuid, primary_key=True),  # of the attempt, as in version_reads
    Column("tenant", Text, nullable=False),
    Column("run_id", Uuid, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("path", JSONB, nullable=False),  # [[version id, role], ...] from the superseded version to this one
    Column("tainted_at", _AT, nullable=False),
)  # fmt: skip
Index("taints_newest", taints.c.restatement_id, taints.c.tainted_at.desc(), taints.c.version_id)
Index("taints_of_version", taints.c.version_id)
Index("taints_of_run", taints.c.run_id)
