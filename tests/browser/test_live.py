"""What happens is on the page without a reload, and nothing is missed."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from playwright.async_api import expect

from tests.browser.dashboard import (
    LIVE,
    SOON_MS,
    Dashboard,
    chip,
    has_status,
    instance_item,
    request_item,
    row,
    shown_runs,
)
from tests.browser.platform import ENDLESS, cancel
from tests.e2e.platform import Platform
from tests.support.eventually import eventually

SLOW = {"seconds": 12, "steps": 24, "metrics": {"rows_added": 1204}, "last_data_date": "2025-01-14"}


async def test_a_bare_kafka_line_is_a_row_that_reaches_completed_without_reload(
    platform: Platform, dashboard: Dashboard, name: str
) -> None:
    page = await dashboard.open()
    await page.evaluate("window.notReloaded = true")
    await platform.register(name)
    await has_status(instance_item(page, name), "not_initialized")
    run_id = await platform.submit(name, parameters=SLOW)
    await has_status(row(page, run_id), "running")
    await expect(row(page, run_id).get_by_role("progressbar")).to_have_attribute(
        "aria-valuenow", re.compile("[1-9][0-9]"), timeout=SOON_MS
    )
    await has_status(instance_item(page, name), "running")
    await has_status(row(page, run_id), "completed")
    await expect(row(page, run_id)).to_contain_text("+1,204")
    await has_status(instance_item(page, name), "ready")
    await expect(instance_item(page, name)).to_contain_text("2025-01-14")
    assert await page.evaluate("window.notReloaded") is True


async def test_a_running_row_is_painted_at_most_four_times_a_second(
    platform: Platform, dashboard: Dashboard, name: str
) -> None:
    page = await dashboard.open()
    await platform.register(name)
    run_id = await platform.submit(name, parameters={"seconds": 12, "steps": 600})
    await has_status(row(page, run_id), "running")
    await row(page, run_id).evaluate(
        """row => {
            window.paints = [];
            const note = () => window.paints.push(performance.now());
            const options = {subtree: true, childList: true, attributes: true, characterData: true};
            new MutationObserver(note).observe(row, options);
        }"""
    )
    await has_status(row(page, run_id), "completed")
    paints = await page.evaluate("window.paints")
    assert len(paints) > 4
    assert min((later - first for first, later in zip(paints, paints[4:], strict=False)), default=1000) > 900


async def test_a_refused_request_says_its_code_and_its_blockers_by_name(
    platform: Platform, dashboard: Dashboard, name: str
) -> None:
    page = await dashboard.open("?tab=waiting")
    await platform.register(f"{name}-up")
    await platform.register(name, instance_type="SignalInstance", upstreams=[{"instance": f"{name}-up"}])
    run_id = await platform.submit(name)
    refused = request_item(page, run_id)
    await has_status(refused, "refused")
    await expect(refused).to_contain_text("UPSTREAM_NOT_READY")
    await expect(refused.get_by_label("Blocked by")).to_contain_text(f"{name}-up")
    await expect(refused.get_by_label("Blocked by")).to_contain_text("Never run")


async def test_a_parked_request_waits_on_its_tab_and_leaves_it_as_a_run(
    platform: Platform, dashboard: Dashboard, name: str
) -> None:
    page = await dashboard.open("?tab=waiting")
    await platform.register(f"{name}-up")
    await platform.register(name, instance_type="SignalInstance", upstreams=[{"instance": f"{name}-up"}])
    run_id = await platform.submit(name, gate="wait", parameters={"seconds": 0.2})
    await has_status(request_item(page, run_id), "parked")
    await expect(request_item(page, run_id)).to_contain_text("until")
    await platform.submit(f"{name}-up", parameters={"seconds": 0.2})
    await page.get_by_role("button", name="Runs", exact=True).click()
    await has_status(row(page, run_id), "completed")
    await page.get_by_role("button", name="Waiting").click()
    await expect(request_item(page, run_id)).to_have_count(0)


async def test_a_stale_instance_names_its_root_cause(platform: Platform, dashboard: Dashboard, name: str) -> None:
    page = await dashboard.open()
    await platform.register(f"{name}-up")
    await platform.register(name, instance_type="SignalInstance", upstreams=[{"instance": f"{name}-up"}])
    for instance in (f"{name}-up", name, f"{name}-up"):
        run_id = await platform.submit(instance, parameters={"seconds": 0.2})
        assert (await platform.ended(run_id))["status"] == "completed"
        await has_status(instance_item(page, instance), "ready")
    await has_status(instance_item(page, name), "stale")
    await expect(instance_item(page, name)).to_contain_text(f"because of {name}-up")


async def test_after_the_realtime_node_was_away_the_rows_equal_the_database(
    stack: Any, platform: Platform, dashboard: Dashboard, name: str
) -> None:
    page = await dashboard.open()
    await platform.register(name, max_open_runs=5)
    before = await platform.submit(name, parameters=ENDLESS)
    await has_status(row(page, before), "running")
    await stack.stop("realtime")
    try:
        await expect(chip(page)).to_have_text(re.compile(r"Reconnecting, data as of \d\d:\d\d:\d\d"), timeout=SOON_MS)
        missed = await platform.submit(name, parameters={"seconds": 0.2})
        await cancel(platform, before)
        ended = await asyncio.gather(platform.ended(before), platform.ended(missed))
        assert [run["status"] for run in ended] == ["cancelled", "completed"]
        await expect(row(page, before)).to_have_attribute("data-status", "running")
        await expect(row(page, missed)).to_have_count(0)
    finally:
        await stack.start("realtime")
    await expect(chip(page)).to_have_text(LIVE, timeout=2 * SOON_MS)
    await has_status(row(page, before), "cancelled")
    await has_status(row(page, missed), "completed")

    async def equal() -> bool:
        answer = await platform.get("run_tracker", "/v1/runs?limit=200")
        stored = {run["run_id"]: (run["status"], run["seq"]) for run in answer["runs"]}
        shown = await shown_runs(page)  # its newest hundred; of two made at once it may end with either
        assert shown == {run_id: stored[run_id] for run_id in shown if run_id in stored}
        assert len(shown) == min(len(stored), 100)
        return True

    await eventually(equal, what="the rows to equal the database")


async def test_a_service_that_is_away_is_named_and_the_page_does_not_call_itself_live(
    stack: Any, dashboard: Dashboard
) -> None:
    page = await dashboard.open()
    await stack.stop("notifier")
    try:
        away = re.compile(r"Not live: notifier is away, data as of \d\d:\d\d:\d\d")
        await expect(chip(page)).to_have_text(away, timeout=2 * SOON_MS)
    finally:
        await stack.start("notifier")
    await expect(chip(page)).to_have_text(LIVE, timeout=2 * SOON_MS)


async def test_one_part_that_is_away_costs_its_panel_and_not_the_page(
    platform: Platform, dashboard: Dashboard, name: str
) -> None:
    await platform.register(name)
    page = await dashboard.blank()
    runs = re.compile(re.escape(dashboard.env["RUNTIDE_RUN_TRACKER_URL"]) + "/v1/runs")
    await page.route(runs, lambda route: route.abort())
    await page.goto(dashboard.address())
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text(re.compile(r"run_tracker no connection since \d\d:\d\d:\d\d"), timeout=SOON_MS)
    await expect(alert.get_by_role("button", name="Retry")).to_be_visible()
    await expect(instance_item(page, name)).to_be_visible()
    await page.unroute(runs)  # It asks again by itself, so nobody has to press.
    await expect(alert).to_have_count(0, timeout=2 * SOON_MS)


async def test_new_rows_do_not_move_what_is_being_read(platform: Platform, dashboard: Dashboard, name: str) -> None:
    await platform.register(name, max_open_runs=50)
    first = [await platform.submit(name, parameters={"seconds": 0.1}) for _ in range(8)]
    page = await dashboard.open(f"?instance={name}", height=500)
    for run_id in first:
        await has_status(row(page, run_id), "completed")
    await page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    place = await row(page, first[0]).bounding_box()
    later = [await platform.submit(name, parameters={"seconds": 0.1}) for _ in range(2)]
    fresh = page.get_by_test_id("fresh")
    await expect(fresh).to_contain_text("2 new runs", timeout=90_000)
    assert await row(page, first[0]).bounding_box() == place
    await fresh.click()
    await expect(row(page, later[1])).to_be_visible()
