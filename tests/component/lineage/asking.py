"""The HTTP side of a story: the tenant of the story asks, with a token of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx

from shared.auth import mint
from tests.component.lineage.told import Told


async def send(told: Told, method: str, path: str, *, body: Any = None, **params: Any) -> httpx.Response:
    running = told.lineage.running
    token = mint(running.settings.auth, tenant=told.tenant, actor="ana@acme", valid=timedelta(minutes=5))
    return await told.lineage.http.request(
        method, path, params=params, json=body, headers={"Authorization": f"Bearer {token}"}
    )


async def get(told: Told, path: str, **params: Any) -> dict[str, Any]:
    answer = await send(told, "GET", path, **params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body
