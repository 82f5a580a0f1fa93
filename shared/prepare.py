"""What must be done before services start, as one job: topics, then the tables of each service.

`python -m shared.prepare submission run_tracker lineage notifier`. Each part can also be done alone
(`python -m shared.messaging.topics apply`, `python -m services.<service> migrate`); one process saves the imports.
"""

from __future__ import annotations

import asyncio
import sys

from runtide_schemas.cluster import ClusterError

from shared.messaging import topics
from shared.migrate import migrate
from shared.postgres import engine_for
from shared.settings import PostgresSettings


async def prepare(services: list[str]) -> None:
    """Topics and tables, side by side; says what it did."""
    _, lines = await asyncio.gather(topics.run("apply"), _migrate(services))
    for line in lines:
        sys.stdout.write(line + "\n")


async def _migrate(services: list[str]) -> list[str]:
    lines = []
    for service in services:
        engine = engine_for(PostgresSettings(), schema=service, application="runtide-migrate", pool_size=1)
        try:
            before, after = await migrate(engine, service)
        finally:
            await engine.dispose()
        lines.append(f"{service}: {before or 'empty'} → {after}" if before != after else f"{service}: at {after}")
    return lines


if __name__ == "__main__":
    try:
        asyncio.run(prepare(sys.argv[1:]))
    except ClusterError as error:
        sys.exit(str(error))
