"""Who comes to the page, with which hands and eyes, and what it asks of the network."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from tests.browser.dashboard import SOON_MS, Dashboard, chip, has_status, row, serious_violations
from tests.browser.platform import ENDLESS, cancel
from tests.e2e.platform import Platform


async def test_the_token_leaves_the_address_at_once_and_stays_for_this_tab(dashboard: Dashboard) -> None:
    page = await dashboard.open("?status=failed")
    assert page.url == f"{dashboard.env['RUNTIDE_DASHBOARD_URL']}/?status=failed"
    await page.reload()
    await expect(chip(page)).to_contain_text("Live", timeout=SOON_MS)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Access token")).to_be_focused()


async def test_who_has_no_token_is_asked_for_one_and_a_wrong_one_is_refused(dashboard: Dashboard) -> None:
    page = await dashboard.blank()
    await page.goto(dashboard.env["RUNTIDE_DASHBOARD_URL"])
    await page.get_by_label("Access token").fill("no.such.token")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("not accepted", timeout=SOON_MS)
    await page.get_by_label("Access token").fill(dashboard.env["RUNTIDE_TOKEN"])
    await page.keyboard.press("Enter")
    await expect(chip(page)).to_contain_text("Live", timeout=SOON_MS)


async def test_another_tenant_sees_none_of_it(platform: Platform, dashboard: Dashboard, name: str) -> None:
    await platform.register(name)
    run_id = await platform.submit(name, parameters={"seconds": 0.1})
    await platform.ended(run_id)
    page = await dashboard.blank()
    await page.goto(f"{dashboard.env['RUNTIDE_DASHBOARD_URL']}/#token={dashboard.env['RUNTIDE_TOKEN_OTHER']}")
    await expect(chip(page)).to_contain_text("Live", timeout=SOON_MS)
    await expect(page.locator(".loading")).to_have_count(0)
    await expect(row(page, run_id)).to_have_count(0)
    assert name not in await page.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 320])
async def test_axe_finds_nothing_serious(
    platform: Platform, dashboard: Dashboard, name: str, scheme: str, width: int
) -> None:
    await platform.register(name)
    await platform.register(f"{name}-down", instance_type="SignalInstance", upstreams=[{"instance": name}])
    refused = await platform.submit(f"{name}-down")
    assert (await platform.ended(refused))["status"] == "refused"
    failed = await platform.submit(name, parameters={"seconds": 0.1, "fail": True})
    page = await dashboard.open(width=width, color_scheme=scheme, reduced_motion="reduce")
    await has_status(row(page, failed), "failed")
    assert await serious_violations(page) == []
    await page.get_by_role("button", name="Waiting").click()
    await expect(page.locator(f"li[data-run-id='{refused}']")).to_be_visible()
    assert await serious_violations(page) == []
    await page.get_by_role("button", name="Sign out").click()
    assert await serious_violations(page) == []


async def test_everything_can_be_done_by_keyboard(platform: Platform, dashboard: Dashboard, name: str) -> None:
    await platform.register(name)
    run_id = await platform.submit(name, parameters={"seconds": 0.1})
    page = await dashboard.open()
    await has_status(row(page, run_id), "completed")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the runs")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type(name)
    await expect(page.locator("tr[data-run-id]")).to_have_count(1)
    assert page.url.endswith(f"?q={name}")
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Space")
    await expect(page.get_by_role("button", name="Cancelled")).to_have_attribute("aria-pressed", "true")
    await expect(page.get_by_text("No runs match this filter")).to_be_visible()
    assert page.url.endswith(f"?status=cancelled&q={name}")
    await page.keyboard.press("Space")
    header = page.get_by_role("columnheader", name="Elapsed")
    await header.get_by_role("button").focus()
    await page.keyboard.press("Enter")
    await expect(header).to_have_attribute("aria-sort", "descending")
    await page.go_back()
    await expect(header).not_to_have_attribute("aria-sort", "descending")
    await page.get_by_role("button", name=name, exact=True).focus()
    await page.keyboard.press("Enter")
    assert f"instance={name}" in page.url


async def test_a_screen_of_320_pixels_is_enough(platform: Platform, dashboard: Dashboard, name: str) -> None:
    await platform.register(name)
    run_id = await platform.submit(name, parameters={"seconds": 0.1, "metrics": {"rows_added": 3}})
    page = await dashboard.open(width=320, height=640)
    await has_status(row(page, run_id), "completed")
    assert await page.evaluate("document.documentElement.scrollWidth") == 320
    for text in (name, "Completed", "+3"):
        await expect(row(page, run_id).get_by_text(text).first).to_be_visible()
    await page.get_by_role("button", name="Show instances").click()
    await expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") == 320


async def test_who_wants_no_motion_sees_none(platform: Platform, dashboard: Dashboard, name: str) -> None:
    await platform.register(name)
    page = await dashboard.open(reduced_motion="reduce")
    run_id = await platform.submit(name, parameters=ENDLESS)
    try:
        await has_status(row(page, run_id), "running")
        assert await page.evaluate("document.getAnimations().length") == 0
    finally:
        await cancel(platform, run_id)


async def test_the_page_asks_nobody_but_the_platform(dashboard: Dashboard) -> None:
    await dashboard.open()
    ours = {urlsplit(dashboard.env[f"RUNTIDE_{part}_URL"]).netloc for part in
            ("SUBMISSION", "RUN_TRACKER", "LINEAGE", "NOTIFIER", "DASHBOARD", "CENTRIFUGO_WS")}  # fmt: skip
    assert {urlsplit(address).netloc for address in dashboard.asked} <= ours
    assert all(dashboard.env["RUNTIDE_TOKEN"] not in urlsplit(address).query for address in dashboard.asked)
