"""The instant of a schedule that a request is for, and the run that it does over."""

from alembic import op

revision = "0006"
down_revision = "0004"


def upgrade() -> None:
    op.execute("set local search_path = submission")
    op.execute("alter table requests add column planned_for timestamptz, add column retries jsonb")
    op.execute(
        "create index requests_of_chain on requests (tenant, (retries ->> 'first_run_id')) where retries is not null"
    )
