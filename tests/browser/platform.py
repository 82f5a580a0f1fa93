"""Runs that last as long as a test looks at them."""

from __future__ import annotations

from tests.e2e.platform import Platform

ENDLESS = {"seconds": 600, "steps": 1200}


async def cancel(platform: Platform, run_id: str) -> None:
    answer = await platform.http.post(platform.url("submission", f"/v1/requests/{run_id}/cancel"))
    assert answer.status_code == 202, answer.text
