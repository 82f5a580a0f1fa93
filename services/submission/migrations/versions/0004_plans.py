"""Which plan a request runs, and on whose behalf lineage asks."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("set local search_path = submission")
    op.execute("alter table requests add column plan_id uuid, add column on_behalf_of text")
    op.execute("create index requests_of_parent on requests (parent_run_id) where parent_run_id is not null")
