"""Backfills in lineage, on real Kafka and PostgreSQL: submission and the runs of its children are told by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from runtide_schemas.vocabulary import run_id_of, version_id_of

from tests.component.lineage.told import Told
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World, of

WEEK = ("2025-01-06", "2025-01-07", "2025-01-08", "2025-01-09", "2025-01-10")


@pytest.fixture(scope="module")
async def lineage(world: World) -> AsyncIterator[ServiceHarness]:
    service = await world.start("lineage", backfill_dates_max=300)
    yield service
    await service.stop()


@pytest.fixture
def told(lineage: ServiceHarness) -> Backfilled:
    return Backfilled(lineage)


class Backfilled(Told):
    """A tenant's story with submission's part in backfills: what lineage submits is requested at once."""

    async def backfill(self, name: str, *, request: dict[str, Any] | None = None, **fields: Any) -> str:
        """Somebody asks for the week, or for the dates given; answers the run id."""
        backfill = {"start": WEEK[0], "end": WEEK[-1], "step": "session", **fields}
        return await self.ask(name, **{"gate": "wait", **(request or {}), "backfill": backfill})

    def child_id(self, parent: str, day: str) -> str:
        return str(run_id_of(self.tenant, f"backfill/{parent}/{day}"))

    async def submitted(self, parent: str, day: str) -> dict[str, Any]:
        """The command by which lineage asks for a date."""
        return await self.kafka.until(
            "runs.commands.v1",
            lambda m: m.get("command_id") == f"backfill/{parent}/{day}" and m["type"] == "run.submit",
        )

    async def child(self, parent: str, name: str, day: str) -> str:
        """The date was submitted, and submission says `requested`; answers the child's run id."""
        command = await self.submitted(parent, day)
        asked = {field: command[field] for field in ("command_id", "flow_kind", "mode", "parameters", "gate", "actor")}
        return await self.ask(name, trigger=command["trigger"], parent_run_id=parent, **asked)

    async def done(self, parent: str, name: str, day: str, **fields: Any) -> str:
        run_id = await self.child(parent, name, day)
        await self.decision(run_id)
        return await self.completed(name, run_id, trigger="backfill", **fields)

    async def admitted(self, run_id: str) -> dict[str, Any]:
        return await self.kafka.until(
            "requests.decisions.v1", lambda m: m["run_id"] == run_id and m["type"] == "request.admitted"
        )

    async def says(self, parent: str, **progress: Any) -> dict[str, Any]:
        """The decision that says so of the backfill."""
        return await self.kafka.until(
            "requests.decisions.v1",
            lambda m: (
                m["run_id"] == parent
                and all((m.get("progress") or {}).get(name) == value for name, value in progress.items())
            ),
        )

    async def days_submitted(self, parent: str) -> list[str]:
        """The dates asked for so far, in the order of the commands; everything sent so far was handled."""
        await self.is_quiet()
        await self.relayed()
        commands = of(await self.about("runs.commands.v1"), type="run.submit", parent_run_id=parent)
        return [command["command_id"].rpartition("/")[2] for command in commands]

    async def relayed(self) -> None:
        async def empty() -> bool:
            return not await self.lineage.rows("select 1 from outbox limit 1")

        await eventually(empty, what="an empty outbox")


async def test_a_range_becomes_ordered_children_of_which_only_so_many_are_open(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance", flow={"max_open_runs": 3})
    parent = await told.backfill("prices", max_open=2, request={"parameters": {"window": 20}, "mode": "overwrite"})
    first = await told.decision(parent)
    assert first["type"] == "request.parked"
    assert first["progress"] == {
        "total": 5, "done": 0, "failed": 0, "cancelled": 0, "open": 2, "next": "2025-01-08",
    }  # fmt: skip
    assert first["message"] == "0 of 5 done, 2 open"
    assert (first["deployment"], first["run_type"]) == ("refresh-prices/prod", "PipelineRun")
    assert [(b["name"], b["reason"]) for b in first["blockers"]] == [
        ("prices", f"{day} is open: run {told.child_id(parent, day)}") for day in WEEK[:2]
    ]
    command = await told.submitted(parent, WEEK[0])
    wanted = {
        "tenant": told.tenant, "actor": "system:lineage", "instance": told.id("prices"), "flow_kind": "refresh",
        "mode": "overwrite", "parameters": {"window": 20, "data_date": WEEK[0]}, "gate": "wait", "skip_if_ready": False,
        "wait_until": None, "trigger": "backfill", "parent_run_id": parent, "backfill": None,
    }  # fmt: skip
    assert {name: command[name] for name in wanted} == wanted
    assert await told.days_submitted(parent) == list(WEEK[:2])
    second = await told.child(parent, "prices", WEEK[1])
    await told.done(parent, "prices", WEEK[0])
    await told.says(parent, done=1, open=2, next="2025-01-09")
    assert await told.days_submitted(parent) == list(WEEK[:3])
    await told.completed("prices", second, trigger="backfill")
    for day in WEEK[2:]:
        await told.done(parent, "prices", day)
    finished = await told.says(parent, done=5)
    assert (finished["type"], finished["code"], finished["message"]) == ("request.finished", None, "5 of 5 done")
    assert finished["progress"]["next"] is None
    assert await told.days_submitted(parent) == list(WEEK)
    assert not await told.lineage.rows("select 1 from backfill_dates where parent_run_id = $1", UUID(parent))


async def test_weeks_newest_first_tell_each_child_both_of_its_ends(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance")
    parent = await told.backfill(
        "prices", start="2025-01-08", end="2025-01-14", step="week", order="newest_first", parameter="day"
    )
    command = await told.submitted(parent, "2025-01-13")
    assert command["parameters"] == {"day": "2025-01-13", "day_end": "2025-01-14"}
    await told.done(parent, "prices", "2025-01-13")
    assert (await told.submitted(parent, "2025-01-08"))["parameters"] == {"day": "2025-01-08", "day_end": "2025-01-12"}


async def test_no_more_are_open_than_the_flow_may_have_and_more_when_it_may_have_more(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance")
    parent = await told.backfill("prices", max_open=3)
    assert await told.days_submitted(parent) == [WEEK[0]]
    await told.register("prices", type="DatasetInstance", flow={"max_open_runs": 4})
    await told.says(parent, open=3)
    assert await told.days_submitted(parent) == list(WEEK[:3])


@pytest.mark.parametrize(
    ("backfill", "says"),
    [
        ({"start": "2025-01-11", "end": "2025-01-12"}, "2025-01-11 to 2025-01-12 is empty: no session lies in it"),
        ({"end": "2999-01-01"}, "2999-01-01 lies after"),
        ({"start": "2020-01-01"}, "has more than 300 dates"),
    ],
)
async def test_a_range_that_can_not_be_is_refused_by_name(
    told: Backfilled, backfill: dict[str, str], says: str
) -> None:
    await told.register("prices", type="DatasetInstance")
    refused = await told.decision(await told.backfill("prices", **backfill))
    assert (refused["type"], refused["code"]) == ("request.refused", "INVALID_COMMAND")
    assert says in refused["message"]


async def test_strict_asks_for_the_upstreams_once_before_anything_runs(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    refused = await told.decision(await told.backfill("momentum", request={"gate": "strict"}))
    assert (refused["code"], [b["name"] for b in refused["blockers"]]) == ("UPSTREAM_NOT_READY", ["prices"])
    unknown = await told.decision(await told.backfill("nobody", request={"gate": "strict"}))
    assert unknown["code"] == "UNKNOWN_INSTANCE"
    await told.completed("prices")
    parent = await told.backfill("momentum", request={"gate": "strict"})
    await told.submitted(parent, WEEK[0])
    await told.run(str(run_id_of(told.tenant, "another")), "prices", "failed")
    await told.snapshot("prices", status="error")
    waiting = await told.decision(await told.child(parent, "momentum", WEEK[0]))
    assert (waiting["type"], waiting["wait_until"]) == ("request.parked", None)


async def test_forced_children_go_past_their_upstreams_and_wait_for_room_all_the_same(told: Backfilled) -> None:
    await told.register("momentum", "prices")
    busy = await told.ask("momentum", gate="force")
    await told.decision(busy)
    parent = await told.backfill("momentum", request={"gate": "force"})
    run_id = await told.child(parent, "momentum", WEEK[0])
    parked = await told.decision(run_id)
    assert [(b["name"], b["reason"][:22]) for b in parked["blockers"]] == [("momentum", "1 of at most 1 runs ar")]
    await told.completed("momentum", busy)
    assert "prices is not_initialized" in (await told.admitted(run_id))["warning"]


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
async def test_a_failed_date_stops_the_rest_or_not_as_asked(told: Backfilled, on_failure: str) -> None:
    await told.register("prices", type="DatasetInstance", flow={"max_open_runs": 2})
    parent = await told.backfill("prices", max_open=2, on_failure=on_failure)
    failing, other = await told.child(parent, "prices", WEEK[0]), await told.child(parent, "prices", WEEK[1])
    await told.run(failing, "prices", "failed", trigger="backfill")
    going = await told.says(parent, failed=1)
    assert "1 failed (2025-01-06)" in going["message"]
    if on_failure == "stop":
        assert (going["progress"]["open"], going["progress"]["next"]) == (1, None)  # the open one finishes first
        await told.completed("prices", other, trigger="backfill")
        over = await told.says(parent, done=1)
        assert over["message"] == "1 of 5 done, 1 failed (2025-01-06), 3 not begun"
        assert await told.days_submitted(parent) == list(WEEK[:2])
    else:
        await told.completed("prices", other, trigger="backfill")
        for day in WEEK[2:]:
            await told.done(parent, "prices", day)
        over = await told.says(parent, done=4)
        assert over["message"] == "4 of 5 done, 1 failed (2025-01-06)"
    assert (over["type"], over["code"]) == ("request.finished", "BACKFILL_INCOMPLETE")


@pytest.mark.parametrize(("ends", "counted"), [("launch_failed", "failed"), ("cancelled", "cancelled")])
async def test_a_child_that_never_ran_counts_by_how_its_request_ended(
    told: Backfilled, ends: str, counted: str
) -> None:
    await told.register("prices", type="DatasetInstance")
    parent = await told.backfill("prices", on_failure="continue", start=WEEK[0], end=WEEK[1])
    run_id = await told.child(parent, "prices", WEEK[0])
    await told.decision(run_id)
    await told.request(run_id, ends)
    await told.done(parent, "prices", WEEK[1])
    over = await told.says(parent, **{counted: 1, "done": 1, "open": 0})
    assert over["code"] == "BACKFILL_INCOMPLETE"


async def test_a_cancel_of_the_whole_begins_nothing_more_and_stops_what_is_open(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance", flow={"max_open_runs": 2})
    parent = await told.backfill("prices", max_open=2)
    running, waiting = await told.child(parent, "prices", WEEK[0]), await told.submitted(parent, WEEK[1])
    await told.request(parent, "cancelled")
    for run_id in (running, told.child_id(parent, WEEK[1])):
        cancel = await told.kafka.until(
            "runs.commands.v1", lambda m, run_id=run_id: m["type"] == "run.cancel" and m["run_id"] == run_id
        )
        assert cancel["reason"] == f"its backfill {parent} was cancelled"
    await told.run(running, "prices", "cancelled", trigger="backfill")
    assert waiting["parent_run_id"] == parent
    assert await told.days_submitted(parent) == list(WEEK[:2])
    assert len(of(await told.about("runs.commands.v1"), type="run.cancel")) == 2


async def test_a_retired_instance_ends_its_backfill_by_name_when_the_open_ones_have_ended(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance", flow={"max_open_runs": 2})
    parent = await told.backfill("prices", max_open=2)
    running = await told.child(parent, "prices", WEEK[0])
    await told.decision(running)
    await told.command("instance.retire", instance="prices")
    refused = await told.decision(await told.child(parent, "prices", WEEK[1]))
    assert refused["code"] == "INSTANCE_RETIRED"
    await told.completed("prices", running, trigger="backfill")
    over = await told.says(parent, done=1, failed=1, open=0)
    assert (over["type"], over["code"]) == ("request.finished", "INSTANCE_RETIRED")
    assert "prices is retired" in over["message"]


async def test_a_date_that_submission_never_announces_is_asked_for_again(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance")
    parent = await told.backfill("prices", request={"parameters": {"window": 20}})
    asked = await told.submitted(parent, WEEK[0])

    async def both() -> list[dict[str, Any]]:
        found = of(await told.about("runs.commands.v1"), parent_run_id=parent)
        return found if len(found) == 2 else []

    await told.lineage.rows("update due set due_at = now() where ref like $1", f"{told.tenant}/backfill/%")
    assert await eventually(both) == [asked, asked]
    await told.done(parent, "prices", WEEK[0])
    second = await told.submitted(parent, WEEK[1])
    await told.request(parent, "cancelled")
    await told.is_quiet()
    await told.lineage.rows("update due set due_at = now() where ref like $1", f"{told.tenant}/backfill/%")
    await eventually(lambda: told.lineage.rows("select 1 where not exists (select 1 from due where ref like $1)",
                                               f"{told.tenant}/backfill/%"))  # fmt: skip
    assert of(await told.about("runs.commands.v1"), command_id=second["command_id"]) == [second]  # it is over


async def test_an_ordinary_request_that_waits_goes_before_the_next_child(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance")
    parent = await told.backfill("prices")
    first = await told.child(parent, "prices", WEEK[0])
    await told.decision(first)
    ordinary = await told.ask("prices", gate="wait")
    assert (await told.decision(ordinary))["type"] == "request.parked"
    await told.completed("prices", first, trigger="backfill")
    await told.admitted(ordinary)
    second = await told.child(parent, "prices", WEEK[1])
    assert (await told.decision(second))["type"] == "request.parked"
    third = await told.ask("prices", gate="wait")  # younger than the child, and first all the same
    await told.decision(third)
    await told.completed("prices", ordinary)
    await told.admitted(third)
    assert not of(await told.about("requests.decisions.v1"), run_id=second, type="request.admitted")
    await told.completed("prices", third)
    await told.admitted(second)


async def test_a_backfill_changes_nothing_of_today(told: Backfilled) -> None:
    """Not the version, nor the date, nor an error, nor what is shown, nor anything below it."""
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices", flow={"on_upstream": "refresh"})
    today = await told.completed("prices", output="today", last_data_date="2025-06-02")
    await told.completed("momentum", read={"prices": today})
    await told.snapshot("momentum", status="ready")
    parent = await told.backfill("prices", start=WEEK[0], end=WEEK[1])
    child = await told.child(parent, "prices", WEEK[0])
    await told.run(child, "prices", "running", trigger="backfill")
    await told.completed("prices", child, trigger="backfill", output="old", last_data_date="2025-12-31")
    await told.run(await told.child(parent, "prices", WEEK[1]), "prices", "failed", trigger="backfill")
    await told.says(parent, failed=1)
    await told.is_quiet()
    for snapshot in of(await told.about("instances.status.v1"), instance_id=told.id("prices"))[2:]:
        [flow] = snapshot["flows"]
        assert (flow["status"], flow["version_id"]) == ("ready", str(version_id_of(UUID(today), 1)))
        assert (flow["last_data_date"], flow["open_run_id"]) == ("2025-06-02", None)
    below = of(await told.about("instances.status.v1"), instance_id=told.id("momentum"))
    assert below[-1]["status"] == "ready"
    refreshes = of(await told.about("runs.commands.v1"), trigger="upstream", instance=told.id("momentum"))
    assert not [one for one in refreshes if child in one["command_id"]]  # today's, where it was heard of late, may
    [row] = await told.lineage.rows("select * from versions where run_id = $1", UUID(child))
    assert (str(row["version_id"]), row["is_backfill"]) == (str(version_id_of(UUID(child), 1)), True)


async def test_what_refreshes_itself_does_not_wait_for_an_open_backfill_above(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance", flow={"max_open_runs": 2})
    await told.register("momentum", "prices", flow={"on_upstream": "refresh"})
    parent = await told.backfill("prices")
    await told.decision(await told.child(parent, "prices", WEEK[0]))
    await told.completed("prices")
    command = await told.kafka.until(
        "runs.commands.v1",
        lambda m: m["tenant"] == told.tenant and m.get("trigger") == "upstream" and m["type"] == "run.submit",
    )
    refresh = await told.ask("momentum", command_id=command["command_id"], gate="wait", trigger="upstream")
    assert (await told.decision(refresh))["type"] == "request.admitted"


async def test_a_completed_backfill_does_not_hide_that_today_failed(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.completed("prices")
    await told.run(str(run_id_of(told.tenant, "today")), "prices", "failed")
    await told.snapshot("prices", status="error")
    parent = await told.backfill("prices", start=WEEK[0], end=WEEK[0])
    await told.done(parent, "prices", WEEK[0])
    await told.says(parent, done=1)
    await told.is_quiet()
    assert of(await told.about("instances.status.v1"), instance_id=told.id("prices"))[-1]["status"] == "error"


async def test_a_waiting_backfill_is_no_reason_not_to_refresh_today(told: Backfilled) -> None:
    """An automatic refresh is asked for where none waits; a backfill of the same flow waits for other dates."""
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices", flow={"on_upstream": "refresh"})
    parent = await told.backfill("momentum")
    waiting = await told.decision(await told.child(parent, "momentum", WEEK[0]))
    assert waiting["type"] == "request.parked"
    await told.completed("prices")
    await told.kafka.until(
        "runs.commands.v1", lambda m: m.get("trigger") == "upstream" and m["instance"] == told.id("momentum")
    )


async def test_control_the_same_runs_without_the_trigger_do_change_today(told: Backfilled) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.completed("prices", last_data_date="2025-06-02")
    manual = await told.completed("prices", last_data_date="2025-12-31")
    snapshot = await told.snapshot("prices", flow__version_id=str(version_id_of(UUID(manual), 1)))
    assert snapshot["flows"][0]["last_data_date"] == "2025-12-31"


async def test_a_restart_and_the_log_read_again_from_its_start_begin_no_date_twice(world: World) -> None:
    own = await World({**world.env, "RUNTIDE_POSTGRES_DSN": world.dsn}).open()
    lineage = await own.start("lineage")
    told = Backfilled(lineage)
    await told.register("prices", type="DatasetInstance", flow={"max_open_runs": 2})
    parent = await told.backfill("prices", max_open=2)
    await told.done(parent, "prices", WEEK[0])
    await told.child(parent, "prices", WEEK[1])
    await told.child(parent, "prices", WEEK[2])
    finished = await told.backfill("prices", start="2025-02-03", end="2025-02-03")
    gone = await told.backfill("prices", start="2025-02-03", end="2025-02-04")
    await told.request(gone, "cancelled")
    await told.done(finished, "prices", "2025-02-03")
    before = await _stands(told)
    await lineage.stop()
    [read] = await lineage.rows("select sum(next_offset) as n from consumer_offsets")
    await lineage.rows("update consumer_offsets set next_offset = 0")
    told.lineage = again = await own.start("lineage", migrated=True)

    async def caught_up() -> bool:
        return await again.rows("select sum(next_offset) as n from consumer_offsets") == [read]

    await eventually(caught_up)
    assert await _stands(told) == before
    for day in WEEK[1:3]:
        await told.completed("prices", told.child_id(parent, day), trigger="backfill")
    for day in WEEK[3:]:
        await told.done(parent, "prices", day)
    assert (await told.says(parent, done=5))["type"] == "request.finished"
    assert await told.days_submitted(parent) == list(WEEK)
    await again.stop()
    await own.close()


async def test_a_database_that_forgot_it_all_asks_for_no_date_that_it_had_not_asked_for(world: World) -> None:
    """Restored from before the backfill: the log is read again, and dates asked for again keep their ids."""
    own = await World({**world.env, "RUNTIDE_POSTGRES_DSN": world.dsn}).open()
    lineage = await own.start("lineage")
    told = Backfilled(lineage)
    await told.register("prices", type="DatasetInstance", flow={"max_open_runs": 2})
    parent = await told.backfill("prices", max_open=2, on_failure="continue")
    await told.done(parent, "prices", WEEK[0])
    await told.request(await told.child(parent, "prices", WEEK[1]), "cancelled")
    await told.submitted(parent, WEEK[3])
    before = set(await told.days_submitted(parent))
    await lineage.stop()
    for table in ("open_requests", "backfill_dates", "decisions", "due"):
        await lineage.rows(f"delete from {table}")
    await lineage.rows("update tenants set revision = revision + 1")
    await lineage.rows("update consumer_offsets set next_offset = 0")
    told.lineage = again = await own.start("lineage", migrated=True)
    assert set(await told.days_submitted(parent)) == before
    for day in WEEK[2:]:
        await told.done(parent, "prices", day)
    over = await told.says(parent, done=4, cancelled=1, open=0)
    assert over["type"] == "request.finished"
    assert set(await told.days_submitted(parent)) == set(WEEK)
    await again.stop()
    await own.close()


async def _stands(told: Backfilled) -> dict[str, Any]:
    """All that lineage said of backfills and their children, and where their dates stand."""
    await told.is_quiet()
    await told.relayed()
    decisions = await told.about("requests.decisions.v1")
    return {
        "said": sorted(str(m) for m in decisions if m["instance_id"] == told.id("prices")),
        "asked": sorted(str(m) for m in await told.about("runs.commands.v1")),
        "dates": await told.lineage.rows("select * from backfill_dates order by parent_run_id, place"),
        "requests": await told.lineage.rows(
            "select * from open_requests where instance_id = $1 order by run_id", UUID(told.id("prices"))
        ),
        "versions": await told.lineage.rows("select * from versions order by version_id"),
    }
