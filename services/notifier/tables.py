"""notifier's tables: who owns what, and what happened."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, Index, MetaData, Table, Text, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.messaging.tables import messaging_tables

metadata = MetaData()
messaging_tables(metadata)

owners = Table(
    "owners", metadata,
    Column("kind", Text, primary_key=True),
    Column("entity_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("named_at", DateTime(timezone=True), nullable=False),  # first
)  # fmt: skip
Index("owners_of_runs", owners.c.named_at, postgresql_where=text("kind = 'run'"))

activities = Table(
    "activities", metadata,
    Column("activity_id", Uuid, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("actor", Text),
    Column("resource_type", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("correlation_id", Text),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
)  # fmt: skip
Index("activities_newest", activities.c.tenant, activities.c.occurred_at.desc(), activities.c.activity_id)
Index("activities_of", activities.c.tenant, activities.c.resource_id, activities.c.occurred_at.desc())
