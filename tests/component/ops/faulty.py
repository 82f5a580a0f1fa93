"""Four services on one world, and faults planted into them: parts that are cut off, poison, and rows and topics that
somebody changed. Nothing is told to the services but what would be seen of the fault.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from runtide import doctor, settings
from runtide.doctor import Finding

from shared.messaging.topics import admin_of
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness, World
from tests.support.wire import Wire

DEPLOYMENT = "refresh-prices/prod"
NOBODY = "c0ffee00-0000-4000-8000-000000000000"


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Faulty:
    """The services by name; `found` is what one says of itself, `examined` what the doctor says of all."""

    def __init__(self, world: World) -> None:
        self.world, self.kafka, self.tenant = world, world.kafka, world.env["RUNTIDE_TENANT"]
        self.services: dict[str, ServiceHarness] = {}
        self.wires: dict[str, Wire] = {}
        self.runs = [str(uuid.uuid4()) for _ in range(5)]

    async def open(self) -> Faulty:
        """Everything well, but for lineage, which is not there yet."""
        api = {name: self.world.env[name] for name in ("RUNTIDE_PREFECT_API_URL", "RUNTIDE_CENTRIFUGO_API_URL")}
        self.wires = {
            "submission": await Wire(api["RUNTIDE_PREFECT_API_URL"]).open(),
            "run_tracker": await Wire(api["RUNTIDE_PREFECT_API_URL"]).open(),
            "notifier": await Wire(api["RUNTIDE_CENTRIFUGO_API_URL"]).open(),
            "lineage": await Wire(f"kafka://{self.kafka.bootstrap}").open(),
        }
        for name in ("submission", "run_tracker", "notifier"):
            await self.wires[name].mend()
        await self._start("submission", RUNTIDE_PREFECT_API_URL=self.wires["submission"].url)
        quick = {"sweep_seconds": 1, "cancel_unconfirmed_seconds": 1, "mass_loss_runs": 3}
        await self._start("run_tracker", RUNTIDE_PREFECT_API_URL=self.wires["run_tracker"].url, **quick)
        await self._start("notifier", RUNTIDE_CENTRIFUGO_API_URL=self.wires["notifier"].url)
        return self

    async def _start(self, name: str, **changes: Any) -> None:
        env = {variable: value for variable, value in changes.items() if variable.isupper()}
        before = dict(self.world.env)
        self.world.env |= env
        try:
            own = {field: value for field, value in changes.items() if not field.isupper()}
            self.services[name] = await self.world.start(name, **own)
        finally:
            self.world.env = before

    async def close(self) -> None:
        for service in self.services.values():
            await service.stop()
        for wire in self.wires.values():
            await wire.close()

    async def found(self, service: str) -> dict[str, Any]:
        """Name → finding."""
        answer = await self.services[service].http.get("/v1/ops")
        assert answer.status_code == 200, answer.text
        return {finding["name"]: finding for finding in answer.json()["findings"]}

    async def examined(self, directory: Path, *, lineage: bool = False) -> list[Finding]:
        urls = {f"RUNTIDE_{name.upper()}_URL": service.running.http_url for name, service in self.services.items()}
        env: Mapping[str, str] = {**self.world.env, **urls}
        return await doctor.examine(settings.load(env, directory), lineage=lineage)

    # -- faults --------------------------------------------------------------------------------------------------

    async def plant(self) -> None:
        """All at once, those first that take longest to be believed."""
        await self.a_service_cut_off_from_kafka()
        await self.questions_that_nobody_answers()
        await self.a_launch_that_prefect_does_not_take()
        await self.somebody_changes_a_topic()
        await self.runs_that_prefect_does_not_know()
        await self.poison()
        await self.centrifugo_goes_away()
        await self.tables_of_an_older_release()
        await self.a_calendar_that_ends()
        await self.a_row_changed_by_hand()

    async def a_service_cut_off_from_kafka(self) -> None:
        """lineage: it hears nothing, and what it has to say waits."""
        away = self.wires["lineage"].url.removeprefix("kafka://")
        await self._start("lineage", RUNTIDE_KAFKA_BOOTSTRAP=away)
        body = {"instance_type": "DatasetInstance", "flows": [{"kind": "refresh", "deployment": DEPLOYMENT}]}
        made = await self.services["lineage"].http.put("/v1/instances/prices", json=body)
        assert made.is_success, made.text

    async def questions_that_nobody_answers(self) -> None:
        await self._request("undecided")

    async def _request(self, command_id: str) -> str:
        asked = await self.services["submission"].http.post(
            "/v1/requests?wait_seconds=0", json={"instance": "prices"}, headers={"Idempotency-Key": command_id}
        )
        return str(asked.json()["run_id"])

    async def a_launch_that_prefect_does_not_take(self) -> None:
        await self.wires["submission"].cut()
        run_id = await self._request("admitted")
        answer = {
            "type": "request.admitted", "tenant": self.tenant, "run_id": run_id, "number": 1, "occurred_at": now(),
            "deployment": DEPLOYMENT, "run_type": "PipelineRun", "flow_kind": "refresh", "instance_name": "prices",
            "parameters": {}, "input_versions": {},
        }  # fmt: skip
        await self.kafka.send("requests.decisions.v1", answer, key=run_id.encode())

    async def somebody_changes_a_topic(self) -> None:
        topic = f"{self.kafka.prefix}runs.progress.v1"
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "60000"})
        async with admin_of(self.services["submission"].running.settings.kafka) as admin:
            await admin.alter_configs([resource])

    async def runs_that_prefect_does_not_know(self) -> None:
        """All of them are gone at once. One is to be cancelled, one was late, one does not give a sign of life."""
        for run_id in self.runs:
            await self.kafka.send("requests.status.v1", self._launched(run_id, 3), key=run_id.encode())
        cancelled = {**self._launched(self.runs[0], 4), "cancel_requested_at": now()}
        await self.kafka.send("requests.status.v1", cancelled, key=self.runs[0].encode())
        late = {
            "type": "prefect.flow_run_state_observed", "flow_run_id": self.runs[1], "state_id": str(uuid.uuid4()),
            "state_type": "SCHEDULED", "state_name": "Late", "state_timestamp": now(), "source": "event",
            "observed_at": now(),
        }  # fmt: skip
        await self.kafka.send("prefect.flow-run-states.v1", late, key=self.runs[1].encode())
        await eventually(self._knows_the_last_run, what="the last run")
        silent = "update runs set sub_state = 'unresponsive' where run_id = $1"
        await self.services["run_tracker"].rows(silent, uuid.UUID(self.runs[-1]))

    async def _knows_the_last_run(self) -> Any:
        sql = "select from runs where run_id = $1"
        return await self.services["run_tracker"].rows(sql, uuid.UUID(self.runs[-1]))

    def _launched(self, run_id: str, seq: int) -> dict[str, Any]:
        return {
            "type": "request.status_changed", "tenant": self.tenant, "run_id": run_id, "command_id": run_id,
            "instance_id": NOBODY, "instance_name": "prices", "run_type": "PipelineRun", "flow_kind": "refresh",
            "mode": "incremental", "actor": "ana@acme", "deployment": DEPLOYMENT, "status": "launched",
            "orchestrator_run_id": run_id, "occurred_at": now(), "seq": seq,
        }  # fmt: skip

    async def poison(self) -> None:
        await self.kafka.send("runs.commands.v1", b'{"type": "run.submit", ')

    async def centrifugo_goes_away(self) -> None:
        await self.wires["notifier"].cut()
        await self.kafka.send("requests.status.v1", self._launched(self.runs[2], 4), key=self.runs[2].encode())

    async def tables_of_an_older_release(self) -> None:
        await self.services["submission"].rows("update schema_version set version_num = '0003'")

    async def a_calendar_that_ends(self) -> None:
        last = datetime.now(UTC).date() + timedelta(days=10)
        days = [last - timedelta(days=n) for n in range(30)]
        sessions = sorted(str(day) for day in days if date.weekday(day) < 5)
        body = {"zone": "America/New_York", "first_day": str(days[-1]), "last_day": str(last), "sessions": sessions,
                "early_closes": {}, "source": "by hand"}  # fmt: skip
        made = await self.services["lineage"].http.put("/v1/calendars/XNYS", json=body)
        assert made.is_success, made.text

    async def a_row_changed_by_hand(self) -> None:
        ready = "jsonb_set(answers, '{refresh,0}', '\"ready\"')"
        lineage = self.services["lineage"]
        await lineage.rows(f"update standings set revision = 999, answers = {ready}")
        await lineage.rows("update tenants set revision = 999")
