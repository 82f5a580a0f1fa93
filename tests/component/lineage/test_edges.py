"""Edges that do not gate, told only by messages."""

from __future__ import annotations

from uuid import uuid4

from tests.component.lineage.told import Told
from tests.support.harness import of


async def test_an_optional_upstream_is_read_where_it_is_and_never_waited_for(told: Told) -> None:
    optional = [{"instance": "prices"}, {"instance": "sentiment", "optional": True}]
    await told.register("prices", type="DatasetInstance")
    await told.register("momentum", upstreams=optional, flow={"on_upstream": "refresh"})
    prices = await told.completed("prices")
    admitted = await told.decision(await told.ask("momentum"))
    assert admitted["type"] == "request.admitted"
    assert set(admitted["input_versions"]) == {"prices"}
    await told.completed("momentum", admitted["run_id"], read={"prices": prices})
    await told.snapshot("momentum", status="ready")
    await told.register("sentiment", type="DatasetInstance")
    await told.completed("sentiment")
    stale = await told.snapshot("momentum", status="stale")
    assert stale["cause"]["path"] == ["sentiment", "momentum"]
    await told.run(str(uuid4()), "sentiment", "failed")
    await told.snapshot("sentiment", status="error")
    again = await told.decision(await told.ask("momentum"))
    assert set(again["input_versions"]) == {"prices", "sentiment"}


async def test_only_other_columns_reach_who_reads_by_schema(told: Told) -> None:
    by_schema = [{"instance": "prices", "kind": "schema_dependency"}]
    await told.register("prices", type="DatasetInstance")
    await told.register("report", upstreams=by_schema, flow={"on_upstream": "refresh"})
    await told.snapshot("report")
    first = await told.completed("prices", output="monday", schema_digest="open,close")
    await told.snapshot("prices", status="ready")
    run_id = await told.asked("report")  # it never ran, and there is something to read
    assert (await told.decision(run_id))["type"] == "request.admitted"
    await told.completed("report", run_id, read={"prices": first})
    await told.snapshot("report", status="ready")
    await told.completed("prices", output="tuesday", schema_digest="open,close")
    await told.is_quiet()
    assert not of(await told.about("instances.status.v1"), instance_id=told.id("report"), status="stale")
    await told.run(str(uuid4()), "prices", "failed")
    assert (await told.decision(await told.ask("report", skip_if_ready=True)))["type"] == "request.skipped"
    await told.completed("prices", output="wednesday", schema_digest="open,high,close")
    stale = await told.snapshot("report", status="stale")
    assert "other columns" in stale["flows"][0]["reason"]
    assert (await told.decision(await told.asked("report")))["type"] == "request.admitted"
    assert len(await told.about("runs.commands.v1")) == 2
