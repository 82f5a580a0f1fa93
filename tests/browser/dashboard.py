"""The dashboard as a person has it before them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Locator, Page, expect

AXE = Path(__file__).resolve().parents[2] / "dashboard" / "node_modules" / "axe-core" / "axe.min.js"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LIVE = re.compile(r"^Live")
SOON_MS = 20_000
RUN_MS = 90_000


class Dashboard:
    def __init__(self, env: Mapping[str, str], browser: Browser) -> None:
        self.env, self._browser = env, browser
        self._contexts: list[BrowserContext] = []
        self.errors: list[str] = []
        self.asked: list[str] = []
        """Every address that a page asked for."""

    async def blank(self, *, width: int = 1440, height: int = 900, **options: Any) -> Page:
        context = await self._browser.new_context(viewport={"width": width, "height": height}, **options)
        self._contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("websocket", lambda socket: self.asked.append(socket.url))
        return page

    async def open(self, query: str = "", **options: Any) -> Page:
        """Signed in by the address that `make demo` prints, and live."""
        page = await self.blank(**options)
        await page.goto(self.address(query))
        await expect(chip(page)).to_have_text(LIVE, timeout=SOON_MS)
        return page

    def address(self, query: str = "") -> str:
        return f"{self.env['RUNTIDE_DASHBOARD_URL']}/{query}#token={self.env['RUNTIDE_TOKEN']}"

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()


def chip(page: Page) -> Locator:
    return page.get_by_test_id("connection")


def row(page: Page, run_id: str) -> Locator:
    return page.locator(f"tr[data-run-id='{run_id}']")


def request_item(page: Page, run_id: str) -> Locator:
    return page.locator(f"li[data-run-id='{run_id}']")


def instance_item(page: Page, name: str) -> Locator:
    return page.locator(f"li[data-instance='{name}']")


async def has_status(locator: Locator, status: str, *, within_ms: int = RUN_MS) -> None:
    await expect(locator).to_have_attribute("data-status", status, timeout=within_ms)


async def shown_runs(page: Page) -> dict[str, tuple[str, int]]:
    """run id → (status, seq), as the rows say it."""
    rows = await page.eval_on_selector_all(
        "tr[data-run-id]", "rows => rows.map(row => [row.dataset.runId, row.dataset.status, Number(row.dataset.seq)])"
    )
    return {run_id: (status, seq) for run_id, status, seq in rows}


async def serious_violations(page: Page) -> list[str]:
    """What axe finds that keeps somebody out, one line per rule and element."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", WCAG)
    return [
        f"{violation['id']} ({violation['impact']}): {node['html'][:200]}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]
