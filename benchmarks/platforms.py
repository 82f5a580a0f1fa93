"""Platforms of many instances, written as the service would have stored them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import uuid5

import asyncpg
from runtide_schemas.vocabulary import FlowKind, instance_id_of, version_id_of

from services.lineage.domain.graph import FlowKey
from tests.support.harness import World as Place

TENANT = "bench"
AT = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Platform:
    """Five layers, each instance reading all of the layer before it; a tail behind the last layer's first."""

    def __init__(self, width: int, tail: int) -> None:
        names = [[f"n{layer}-{place}" for place in range(width)] for layer in range(5)]
        self.reads: dict[str, list[str]] = {name: [] for name in names[0]}
        for above, here in pairwise(names):
            self.reads |= dict.fromkeys(here, above)
        last = names[-1][0]
        for place in range(tail):
            self.reads[f"t{place}"] = [last]
            last = f"t{place}"
        self.edges = sum(map(len, self.reads.values()))
        self.below = 4 * width + tail
        self.root = FlowKey(instance_id_of(TENANT, "n0-0"), FlowKind.REFRESH)

    async def store(self, place: Place) -> None:
        """All of it as the service would have stored it, every flow ready."""
        connection = await asyncpg.connect(place.dsn, server_settings={"search_path": "lineage"})
        try:
            for table in ("tenants", "instances", "flows", "edges", "standings", "versions"):
                await connection.execute(f"truncate {table}")
            await connection.execute("insert into tenants (tenant, revision) values ($1, 1)", TENANT)
            for table, columns, records in self._tables():
                await connection.copy_records_to_table(table, columns=columns, records=records)
            await connection.execute("vacuum analyze")
        finally:
            await connection.close()

    def _tables(self) -> list[tuple[str, list[str], list[tuple[Any, ...]]]]:
        ids = {name: instance_id_of(TENANT, name) for name in self.reads}
        runs = {name: uuid5(ids[name], "run") for name in self.reads}
        versions = {name: version_id_of(run, 1) for name, run in runs.items()}
        ready = json.dumps({"refresh": ["ready", None, None, None]})
        reads = {
            name: json.dumps([
                {"role": up, "instance_id": str(ids[up]), "flow_kind": "refresh", "version_id": str(versions[up]),
                 "artifact_version": None, "basis": "admitted"}
                for up in above
            ])
            for name, above in self.reads.items()
        }  # fmt: skip
        return [
            ("instances", ["instance_id", "tenant", "name", "instance_type", "heard"],
             [(ids[n], TENANT, n, "SignalInstance", "[]") for n in ids]),
            ("flows", ["instance_id", "kind", "tenant", "place", "deployment", "on_upstream", "reports",
                       "max_open_runs", "completion_id", "newest_end_failed", "last_run_id", "last_run_at"],
             [(ids[n], "refresh", TENANT, 0, f"{n}/prod", "notify", "expected", 1, versions[n], False, runs[n], AT)
              for n in ids]),
            ("edges", ["instance_id", "flow_kind", "upstream_instance_id", "kind", "tenant", "place", "all_flows",
                       "upstream_name", "role", "optional"],
             [(ids[n], "refresh", ids[up], "data_dependency", TENANT, place, True, up, up, False)
              for n, above in self.reads.items() for place, up in enumerate(above)]),
            ("standings", ["instance_id", "tenant", "revision", "seq", "announced_at", "status", "answers"],
             [(ids[n], TENANT, 1, 1, AT, "ready", ready) for n in ids]),
            ("versions", ["version_id", "run_id", "attempt", "tenant", "instance_id", "kind", "started_at", "ended_at",
                          "minted_at", "sealed_late", "reads"],
             [(versions[n], runs[n], 1, TENANT, ids[n], "refresh", AT, AT, AT, False, reads[n]) for n in ids]),
        ]  # fmt: skip


class Layered(Platform):
    """One instance, and layers below it in which each reads a few of the layer before."""

    def __init__(self, instances: int, *, width: int, reads: int) -> None:
        self.reads = {"n0-0": []}
        above = ["n0-0"]
        for first in range(1, instances, width):
            here = [f"n{first}-{place}" for place in range(min(width, instances - first))]
            for place, name in enumerate(here):
                self.reads[name] = sorted({above[(place + step) % len(above)] for step in range(reads)})
            above = here
        self.edges, self.below = sum(map(len, self.reads.values())), instances - 1
        self.root = FlowKey(instance_id_of(TENANT, "n0-0"), FlowKind.REFRESH)
