"""Requests that lineage has not answered, found without reading all."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("set local search_path = submission")
    op.execute("create index requests_undecided on requests (requested_at) where status = 'requested' and seq > 0")
