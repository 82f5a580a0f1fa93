"""Restatements, and who read what. Of attempts that ended without a version before, the reads are not known."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_DDL = (
    "alter table flows add column superseded text",
    """
    create table version_reads (
        version_id uuid not null, role text not null, upstream_version_id uuid not null, tenant text not null,
        run_id uuid not null, attempt int not null,
        primary key (version_id, role)
    )
    """,
    """
    insert into version_reads (version_id, role, upstream_version_id, tenant, run_id, attempt)
    select v.version_id, r ->> 'role', cast(r ->> 'version_id' as uuid), v.tenant, v.run_id, v.attempt
    from versions v, jsonb_array_elements(v.reads) r where r ->> 'version_id' is not null
    on conflict do nothing
    """,
    "create index version_reads_of on version_reads (upstream_version_id)",
    "create index versions_confirming on versions (confirms) where confirms is not null",
    """
    create table restatements (
        restatement_id uuid primary key, tenant text not null, instance_id uuid not null, kind text not null,
        version_id uuid, first_data_date date not null, last_data_date date not null, reason text not null,
        actor text not null, command_id text not null, declared_at timestamptz not null
    )
    """,
    "create index restatements_newest on restatements (tenant, declared_at desc, restatement_id)",
    """
    create table superseded_versions (
        restatement_id uuid not null, version_id uuid not null, primary key (restatement_id, version_id)
    )
    """,
    "create index superseded_versions_by on superseded_versions (version_id)",
    """
    create table taints (
        restatement_id uuid not null, version_id uuid not null, tenant text not null, run_id uuid not null,
        attempt int not null, path jsonb not null, tainted_at timestamptz not null,
        primary key (restatement_id, version_id)
    )
    """,
    "create index taints_newest on taints (restatement_id, tainted_at desc, version_id)",
    "create index taints_of_version on taints (version_id)",
    "create index taints_of_run on taints (run_id)",
)


def upgrade() -> None:
    for statement in _DDL:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("forward only: restore a backup instead")
