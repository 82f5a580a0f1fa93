"""Restatements through the whole service, on real Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from runtide_schemas.vocabulary import restatement_id_of, version_id_of
from sqlalchemy import Connection, text

from services.lineage.restatement_store import Below, RestatementStore
from shared.migrate import configuration, migrate
from shared.postgres import engine_for
from tests.component.lineage.restated import History
from tests.component.lineage.told import Told
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World, of

TENANTS = 30
AFTER = {"started_at": "2100-01-01T00:00:00Z", "ended_at": "2100-01-01T00:01:00Z"}


async def _lived(lineage: ServiceHarness, seeds: range) -> list[History]:
    """Side by side; a question of one tenant is answered when lineage has read what was told of all."""
    histories = [History(lineage, seed) for seed in seeds]
    for chapter in (History.begin, History.go_on):
        await asyncio.gather(*(chapter(history) for history in histories))
        await histories[0].told.is_quiet()
    return histories


async def test_whatever_the_history_the_marks_are_those_of_a_search_over_all_paths(lineage: ServiceHarness) -> None:
    found = 0
    for seed, history in enumerate(await _lived(lineage, range(TENANTS))):
        marked = await history.marked()
        assert marked == await history.expected(), f"seed {seed}"
        found += sum(len(path) > 2 for its in marked.values() for path in its.values())
    assert found > TENANTS  # the histories are worth searching


async def test_control_marking_direct_readers_alone_misses_some(
    lineage: ServiceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RestatementStore.superseded

    async def spread_once(self: RestatementStore, tenant: str, version_ids: list[UUID]) -> Below:
        below = await below_all(self, tenant, version_ids)
        superseded = {one for its in (await real(self, tenant, below.versions)).values() for one in its}
        reads = {a: [r for r in its if r[1] in superseded] for a, its in below.reads.items()}
        return Below(reads, below.attempts)

    below_all = RestatementStore.below
    monkeypatch.setattr(RestatementStore, "below", spread_once)
    differs = [await history.marked() != await history.expected() for history in await _lived(lineage, range(10))]
    assert any(differs)


async def _supersede(told: Told, instance: str = "prices", **fields: Any) -> str:
    """Declare, and wait until it is done; answers the restatement's id."""
    command_id = uuid4().hex
    said = {"first_data_date": "2026-01-05", "last_data_date": "2026-01-07", "reason": "splits corrected", **fields}
    await told.command("version.supersede", instance=instance, command_id=command_id, **said)
    await told.is_quiet()
    return str(restatement_id_of(told.tenant, command_id))


async def _chain(told: Told) -> dict[str, str]:
    """prices → momentum → book, each completed once; the runs."""
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", "prices")
    await told.register("book", "momentum")
    runs = {"prices": await told.completed("prices", output="old", last_data_date="2026-01-09")}
    runs["momentum"] = await told.completed("momentum", read={"prices": runs["prices"]}, output="m")
    runs["book"] = await told.completed("book", read={"momentum": runs["momentum"]}, output="b")
    await told.snapshot("book", status="ready")
    return runs


async def _marks(told: Told) -> dict[str, list[str]]:
    """Run → the versions on its path."""
    rows = await told.lineage.rows("select run_id, path from taints where tenant = $1", told.tenant)
    return {str(row["run_id"]): [version for version, _ in json.loads(row["path"])] for row in rows}


def _made(run_id: str) -> str:
    return str(version_id_of(UUID(run_id), 1))


async def test_a_superseded_version_makes_its_flow_stale_by_name_and_marks_all_that_read_it(told: Told) -> None:
    runs = await _chain(told)
    restatement_id = await _supersede(told)
    stale = await told.snapshot("prices", status="stale")
    assert stale["flows"][0]["reason"] == (
        f"its version {_made(runs['prices'])} was superseded for 2026-01-05 to 2026-01-07: splits corrected"
    )
    assert stale["cause"]["path"] == ["prices"]
    assert (await told.snapshot("book", status="stale"))["cause"]["path"] == ["prices", "momentum", "book"]
    assert await _marks(told) == {
        runs["momentum"]: [_made(runs["prices"]), _made(runs["momentum"])],
        runs["book"]: [_made(runs["prices"]), _made(runs["momentum"]), _made(runs["book"])],
    }
    [said] = of(await told.about("activities.v1"), action="version.superseded")
    assert (said["resource_id"], said["actor"]) == (told.id("prices"), "ana@acme")
    assert said["payload"]["restatement_id"] == restatement_id
    assert (said["payload"]["versions_total"], said["payload"]["tainted_total"]) == (1, 2)
    assert [one["instance_name"] for one in said["payload"]["newly_tainted"]] == ["momentum", "book"]


async def test_data_that_do_not_reach_the_range_are_not_superseded_and_unknown_dates_are(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.completed("prices", output="1", last_data_date="2026-01-04")
    unknown = await told.completed("prices", output="2")
    reaching = await told.completed("prices", output="3", last_data_date="2026-01-05")
    await _supersede(told)
    rows = await told.lineage.rows("select s.version_id from superseded_versions s join restatements x"
                                   " using (restatement_id) where x.tenant = $1", told.tenant)  # fmt: skip
    assert {str(row["version_id"]) for row in rows} == {_made(unknown), _made(reaching)}


async def test_the_same_data_again_stay_superseded_and_other_data_clear_the_flow(told: Told) -> None:
    await _chain(told)
    await _supersede(told)
    await told.completed("prices", output="old", last_data_date="2026-01-09", **AFTER)
    again = await eventually_flow(told, "prices", lambda flow: flow["verified_at"] is not None)
    assert (again["freshness"], "superseded" in again["reason"]) == ("stale", True)
    await told.completed("prices", output="new", started_at="2100-01-02T00:00:00Z", ended_at="2100-01-02T00:01:00Z")
    await told.snapshot("prices", status="ready", old_status="stale")


async def eventually_flow(told: Told, name: str, wanted: Any) -> dict[str, Any]:
    found = await told.kafka.until(
        "instances.status.v1", lambda m: m["instance_id"] == told.id(name) and wanted(m["flows"][0])
    )
    return dict(found["flows"][0])


async def test_a_run_that_ends_after_the_declaration_is_marked_and_told_once(told: Told) -> None:
    runs = await _chain(told)
    await _supersede(told)
    late = await told.completed("book", read={"momentum": runs["momentum"]}, output="b2", **AFTER)
    await told.is_quiet()
    assert len((await _marks(told))[late]) == 3
    [said] = of(await told.about("activities.v1"), action="version.spread")
    assert [one["run_id"] for one in said["payload"]["newly_tainted"]] == [late]
    assert said["payload"]["tainted_total"] == 3


async def test_a_completion_told_after_the_declaration_is_superseded_by_it(told: Told) -> None:
    runs = await _chain(told)
    await _supersede(told)
    late = await told.completed("prices", output="also old", last_data_date="2026-01-09")  # began before it, told after
    below = await told.completed("momentum", read={"prices": late}, output="m2")
    await told.is_quiet()
    assert (await _marks(told))[below] == [_made(late), _made(below)]
    assert runs["book"] in await _marks(told)


async def test_a_failed_run_and_a_preview_that_read_it_are_marked_too(told: Told) -> None:
    runs = await _chain(told)
    inputs = {"prices": {"instance_id": told.id("prices"), "flow_kind": "refresh", "version_id": _made(runs["prices"]),
                         "basis": "reported"}}  # fmt: skip
    failed, preview = str(uuid4()), str(uuid4())
    await told.run(failed, "momentum", "failed", input_versions=inputs)
    await told.run(preview, "momentum", "completed", mode="preview", input_versions=inputs)
    await _supersede(told)
    assert {failed, preview} <= (await _marks(told)).keys()


async def test_the_same_command_twice_is_one_restatement_and_another_under_its_id_a_conflict(told: Told) -> None:
    await _chain(told)
    said = {"instance": "prices", "first_data_date": "2026-01-05", "last_data_date": "2026-01-07", "command_id": "c"}
    for reason in ("splits", "splits", "dividends"):
        await told.command("version.supersede", **said, reason=reason)
    await told.is_quiet()
    activities = await told.about("activities.v1")
    assert len(of(activities, action="version.superseded")) == 1
    [refused] = of(activities, action="command.refused")
    assert refused["payload"]["code"] == "COMMAND_CONFLICT"


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"first_data_date": "2026-01-08"}, "INVALID_COMMAND", "is after last_data_date"),
        ({"last_data_date": "2999-01-01"}, "INVALID_COMMAND", "lies in the future"),
        ({"reason": ""}, "INVALID_COMMAND", "a reason is needed"),
        ({"version_id": str(uuid4())}, "UNKNOWN_VERSION", "prices/refresh has no version"),
        ({"flow_kind": "training"}, "UNKNOWN_FLOW", "it has: refresh"),
        ({"instance": "nobody"}, "UNKNOWN_INSTANCE", "no instance nobody"),
    ],
)
async def test_what_can_not_be_superseded_is_refused_by_name(
    told: Told, changes: dict[str, Any], code: str, says: str
) -> None:
    await told.register("prices", type="DatasetInstance")
    await told.completed("prices")
    await _supersede(told, **{"instance": "prices", **changes})
    [refused] = of(await told.about("activities.v1"), action="command.refused")
    assert refused["payload"]["code"] == code
    assert says in refused["payload"]["message"]
    assert not await told.lineage.rows("select 1 from restatements where tenant = $1", told.tenant)


async def test_another_tenants_version_does_not_exist_and_its_runs_are_never_marked(told: Told) -> None:
    runs = await _chain(told)
    other = Told(told.lineage)
    await other.register("theirs", type="DatasetInstance")
    foreign = {"x": {"instance_id": told.id("prices"), "flow_kind": "refresh", "version_id": _made(runs["prices"]),
                     "basis": "reported"}}  # fmt: skip
    await other.run(str(uuid4()), "theirs", "completed", input_versions=foreign)
    await _supersede(other, "theirs", version_id=_made(runs["prices"]))
    [refused] = of(await other.about("activities.v1"), action="command.refused")
    assert refused["payload"]["code"] == "UNKNOWN_VERSION"
    await _supersede(told)
    assert not await _marks(other)
    assert (await told.lineage.http.get(f"/v1/restatements/{uuid4()}")).status_code == 404
    shown = (await told.lineage.http.get("/v1/restatements", params={"run_id": runs["book"]})).json()
    assert shown["restatements"] == []  # the token is of a third tenant


async def test_reading_the_log_again_changes_no_mark_and_sends_nothing(own_world: World) -> None:
    lineage = await own_world.start("lineage")
    told = Told(lineage)
    unknown = str(uuid4())
    await told.register("prices", type="DatasetInstance")
    await _supersede(told, version_id=_made(unknown))  # refused: not known yet, and still refused when read again
    runs = await _chain(told)
    await told.completed("prices", unknown, output="later", last_data_date="2026-01-09")
    await _supersede(told)
    await told.completed("book", read={"momentum": runs["momentum"]}, output="b2", **AFTER)
    await told.is_quiet()
    before = await _stored(told)
    await lineage.stop()
    offsets = await lineage.rows("select sum(next_offset) as read from consumer_offsets")
    await lineage.rows("update consumer_offsets set next_offset = 0")
    again = await own_world.start("lineage", migrated=True)

    async def caught_up() -> bool:
        return await again.rows("select sum(next_offset) as read from consumer_offsets") == offsets

    await eventually(caught_up)
    told.lineage = again
    assert await _stored(told) == before
    await again.stop()


async def _stored(told: Told) -> dict[str, Any]:
    tables = ("restatements", "taints", "version_reads", "flows")
    stored = {name: await told.lineage.rows(f"select * from {name} where tenant = $1 order by 1, 2", told.tenant)
              for name in tables}  # fmt: skip
    stored["superseded_versions"] = await told.lineage.rows("select * from superseded_versions order by 1, 2")
    said = {topic: len(await told.about(topic)) for topic in ("instances.status.v1", "activities.v1")}
    return {**stored, **said}


async def test_what_was_read_before_there_were_restatements_is_known_after_the_migration(own_world: World) -> None:
    settings = own_world.settings("lineage")
    engine = engine_for(settings.postgres, schema="lineage", application="test")
    script = ScriptDirectory.from_config(configuration("lineage"))
    [mine] = [one for one in script.walk_revisions() if "who read what" in str(one.doc)]
    reader, read = uuid4(), uuid4()

    def to_the_one_before(connection: Connection) -> None:
        config = configuration("lineage")
        config.attributes.update(connection=connection, service="lineage")
        command.upgrade(config, str(mine.down_revision))

    async with engine.begin() as conn:
        await conn.execute(text("create schema lineage"))
        await conn.run_sync(to_the_one_before)
    await own_world.rows(
        "lineage",
        "insert into versions (version_id, run_id, attempt, tenant, instance_id, kind, ended_at, minted_at,"
        " sealed_late, reads) values ($1, $1, 1, 'acme', $1, 'refresh', now(), now(), false, $2)",
        reader, json.dumps([{"role": "prices", "version_id": str(read)}, {"role": "fx", "version_id": None}]),
    )  # fmt: skip
    await migrate(engine, "lineage")
    rows = await own_world.rows("lineage", "select * from version_reads")
    assert [(row["version_id"], row["role"], row["upstream_version_id"]) for row in rows] == [(reader, "prices", read)]
    await engine.dispose()


async def test_http_declares_shows_pages_and_plans(told: Told) -> None:
    told = Told(told.lineage, told.lineage.world.env["RUNTIDE_TENANT"])
    http = told.lineage.http
    runs = await _chain(told)
    body = {"first_data_date": "2026-01-05", "last_data_date": "2026-01-07", "reason": "splits corrected"}
    made = await http.post("/v1/instances/prices/supersede", json=body, headers={"Idempotency-Key": "c-1"})
    assert made.status_code == 201, made.text
    restatement_id = made.json()["restatement_id"]
    assert restatement_id == str(restatement_id_of(told.tenant, "c-1"))
    assert (made.json()["versions_total"], made.json()["tainted_total"]) == (1, 2)
    again = await http.post("/v1/instances/prices/supersede", json=body, headers={"Idempotency-Key": "c-1"})
    assert (again.status_code, again.json()["restatement_id"]) == (200, restatement_id)

    [listed] = (await http.get("/v1/restatements", params={"instance": "prices"})).json()["restatements"]
    assert (listed["instance_name"], listed["reason"]) == ("prices", "splits corrected")
    first = (await http.get(f"/v1/restatements/{restatement_id}", params={"limit": 1})).json()
    second = (
        await http.get(f"/v1/restatements/{restatement_id}", params={"limit": 1, "cursor": first["cursor"]})
    ).json()
    assert [one["version_id"] for one in first["versions"]] == [_made(runs["prices"])]
    tainted = {one["run_id"]: one for one in [*first["tainted"], *second["tainted"]]}
    assert tainted.keys() == {runs["momentum"], runs["book"]}
    path = tainted[runs["book"]]["path"]
    assert [(step["instance_name"], step["role"], step["version_id"]) for step in path] == [
        ("prices", "prices", _made(runs["prices"])), ("momentum", "momentum", _made(runs["momentum"])),
        ("book", None, _made(runs["book"])),
    ]  # fmt: skip
    [of_run] = (await http.get("/v1/restatements", params={"run_id": runs["book"]})).json()["restatements"]
    assert of_run["tainted"][0]["path_names"] == ["prices", "momentum", "book"]

    planned = (await http.post(f"/v1/restatements/{restatement_id}/plan")).json()
    assert [[(one["instance_name"], one["mode"]) for one in batch] for batch in planned["batches"]] == [
        [("prices", "overwrite")], [("momentum", "overwrite")], [("book", "overwrite")],
    ]  # fmt: skip
    new = await told.completed("prices", output="new", **AFTER)
    await told.completed("momentum", read={"prices": new}, output="m", started_at="2100-01-02T00:00:00Z",
                         ended_at="2100-01-02T00:01:00Z")  # fmt: skip
    await told.is_quiet()
    planned = (await http.post(f"/v1/restatements/{restatement_id}/plan")).json()
    assert planned["batches"] == []  # what the book read was found unchanged by a run that read the new prices
    assert {one["instance_name"]: one["standing"] for one in planned["not_again"]} == {
        "momentum": "history", "book": "verified",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "status", "code"),
    [
        ("nobody", {}, 404, "UNKNOWN_INSTANCE"),
        ("fx", {"version_id": str(uuid4())}, 404, "UNKNOWN_VERSION"),
        ("fx", {"flow_kind": "training"}, 422, "UNKNOWN_FLOW"),
        ("fx", {"flow_kind": "nonsense"}, 422, "INVALID_COMMAND"),
        ("fx", {"last_data_date": "2999-01-01"}, 422, "INVALID_COMMAND"),
        ("fx", {"surprise": 1}, 422, "INVALID"),
    ],
)
async def test_http_refuses_a_declaration_by_name(
    lineage: ServiceHarness, name: str, changes: dict[str, Any], status: int, code: str
) -> None:
    definition = {"instance_type": "DatasetInstance", "flows": [{"kind": "refresh", "deployment": "refresh-fx/prod"}]}
    await lineage.http.put("/v1/instances/fx", json=definition)
    body = {"first_data_date": "2026-01-05", "last_data_date": "2026-01-07", "reason": "wrong", **changes}
    answer = await lineage.http.post(f"/v1/instances/{name}/supersede", json=body)
    assert answer.status_code == status, answer.text
    assert code in answer.json()["code"]


async def test_what_refreshes_itself_below_is_asked_for_and_force_still_runs_on_the_old_data(told: Told) -> None:
    await told.register("prices", type="DatasetInstance")
    prices = await told.completed("prices", output="old", last_data_date="2026-01-09")
    await told.is_quiet()  # else momentum is asked for by this completion already, and one waiting request is enough
    await told.register("momentum", "prices", flow={"on_upstream": "refresh"})
    await told.is_quiet()
    await told.completed("momentum", read={"prices": prices}, output="m")
    await told.snapshot("momentum", status="ready")
    restatement_id = await _supersede(told)
    asked = [command for command in await told.about("runs.commands.v1") if restatement_id in command["command_id"]]
    assert [(command["instance"], command["gate"]) for command in asked] == [(told.id("momentum"), "wait")]
    refused = await told.decision(await told.ask("momentum"))
    assert (refused["code"], refused["blockers"][0]["name"]) == ("UPSTREAM_NOT_READY", "prices")
    assert "splits corrected" in refused["blockers"][0]["reason"]
    forced = await told.decision(await told.ask("momentum", gate="force"))
    assert forced["input_versions"]["prices"]["version_id"] == _made(prices)
    assert "was superseded" in forced["warning"]
