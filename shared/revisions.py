"""Which migrations the code has and a database has not: names only, so that a service need not load Alembic to know."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

ROOT = Path(__file__).resolve().parent.parent
VERSION_TABLE = "schema_version"


def versions_of(service: str) -> Path:
    """Where the migrations of a service lie, each in `<revision>_<what>.py`, numbered in their order."""
    return ROOT / "services" / service / "migrations" / "versions"


def known(service: str) -> list[str]:
    """Revisions that the code has, oldest first."""
    return sorted(file.name.partition("_")[0] for file in versions_of(service).glob("[0-9]*_*.py"))


async def pending(conn: AsyncConnection, service: str) -> list[str]:
    """Revisions that the code has and the database has not, oldest first; none where the database is ahead."""
    table = f'"{service}".{VERSION_TABLE}'
    if await conn.scalar(text("select to_regclass(:table)"), {"table": table}) is None:
        return known(service)
    have = await conn.scalar(text(f"select version_num from {table}"))
    return [revision for revision in known(service) if revision > (have or "")]
