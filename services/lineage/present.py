"""A tenant as it is now, for answers over HTTP: from memory after one statement, where nobody changed it since.

The fact not to break: memory answers only at the revision that PostgreSQL says now, and never for a tenant whose world
counts in calendars, for those belong to nobody and change without it.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from services.lineage.domain.world import World
from services.lineage.mirror import Mirror
from services.lineage.store import LineageStore
from shared.service import Context

_REVISION = "select revision from tenants where tenant = $1"


class Present:
    """One per process, beside what it remembers. The statement is the driver's own, outside a transaction: one round
    trip instead of four, and a quarter of the time.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def mount(self, app: FastAPI) -> None:
        app.state.present = self

    async def world(self, ctx: Context[LineageStore], tenant: str) -> World:
        """As the last change that was committed left it."""
        known = self._mirror.get(tenant)
        if known is not None and known.loaded.world.calendars is None:
            async with ctx.engine.connect() as conn:
                driver: Any = (await conn.get_raw_connection()).driver_connection
                if await driver.fetchval(_REVISION, tenant) == known.revision:
                    return known.loaded.world
        async with ctx.reading() as store:
            return (await store.read(tenant)).world
