"""Which channels a message goes to, what they carry, and what is left out when we are behind or it is too large."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.instances import Cause, FlowSnapshot, InstanceStatusChanged
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.runs import RunProgressed, RunStatusChanged
from runtide_schemas.vocabulary import (
    FlowKind,
    FlowStatus,
    InstanceStatus,
    InstanceType,
    RequestStatus,
    RunStatus,
    RunType,
)

from services.notifier.routing import MOST_BYTES, Publication, coalesced, fitting, route

NOW = datetime(2025, 1, 15, 9, tzinfo=UTC)
RUN, INSTANCE = uuid4(), uuid4()


def request(**changes: Any) -> RequestStatusChanged:
    return RequestStatusChanged(**{
        "tenant": "acme", "run_id": RUN, "instance_id": INSTANCE, "status": RequestStatus.REQUESTED,
        "occurred_at": NOW, "seq": 1, **changes,
    })  # fmt: skip


def run(**changes: Any) -> RunStatusChanged:
    return RunStatusChanged(**{
        "tenant": "acme", "run_id": RUN, "run_type": RunType.PIPELINE, "instance_id": INSTANCE,
        "instance_name": "prices", "flow_kind": FlowKind.REFRESH, "status": RunStatus.RUNNING,
        "previous_status": RunStatus.PENDING, "occurred_at": NOW, "seq": 2, **changes,
    })  # fmt: skip


def progress(**changes: Any) -> RunProgressed:
    return RunProgressed(**{
        "tenant": "acme", "run_id": RUN, "instance_id": INSTANCE, "status": RunStatus.RUNNING,
        "occurred_at": NOW, "seq": 3, **changes,
    })  # fmt: skip


def flow(kind: FlowKind, **changes: Any) -> FlowSnapshot:
    return FlowSnapshot(kind=kind, deployment="f/d", status=FlowStatus.READY, freshness=FlowStatus.READY, **changes)


def instance(**changes: Any) -> InstanceStatusChanged:
    return InstanceStatusChanged(**{
        "tenant": "acme", "instance_id": INSTANCE, "name": "prices", "instance_type": InstanceType.DATASET,
        "status": InstanceStatus.READY, "old_status": InstanceStatus.STALE, "occurred_at": NOW, "seq": 4, **changes,
    })  # fmt: skip


def channels(publications: list[Publication]) -> list[str]:
    return [publication.channel for publication in publications]


def test_a_request_goes_to_the_tenants_feed_and_to_its_run() -> None:
    publications = route(request())
    assert channels(publications) == ["tenant:acme:feed", f"run:{RUN}:progress"]
    assert all(p.data["type"] == "request.status_changed" and p.data["seq"] == 1 for p in publications)
    assert publications[0].tags == {"instance": str(INSTANCE)}


def test_a_cancel_that_came_first_is_not_shown_on_a_run_that_may_be_another_tenants() -> None:
    ahead = request(tenant="globex", instance_id=None, status=RequestStatus.CANCELLED)
    assert channels(route(ahead)) == ["tenant:globex:feed"]


def test_a_run_goes_to_the_feed_its_own_channel_and_the_instances_runs() -> None:
    publications = route(run(metrics={"rows_added": 3}))
    assert channels(publications) == ["tenant:acme:feed", f"run:{RUN}:progress", f"instance:{INSTANCE}:runs"]
    assert publications[2].data == {
        "type": "run.status_changed", "event": "run_started", "run_id": str(RUN), "flow_kind": "refresh",
        "metrics": {"rows_added": 3}, "seq": 2, "occurred_at": "2025-01-15T09:00:00Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (RunStatus.RUNNING, "run_started"),
        (RunStatus.COMPLETED, "run_completed"),
        (RunStatus.FAILED, "run_failed"),
        (RunStatus.CANCELLED, "run_cancelled"),
    ],
)
def test_watchers_of_an_instance_hear_of_each_change_of_a_run_once(status: RunStatus, event: str) -> None:
    assert route(run(status=status))[-1].data["event"] == event
    same = run(status=status, previous_status=status)  # e.g. new metrics: no event
    assert f"instance:{INSTANCE}:runs" not in channels(route(same))


def test_a_pending_run_is_no_event_of_the_instance() -> None:
    assert f"instance:{INSTANCE}:runs" not in channels(route(run(status=RunStatus.PENDING, previous_status=None)))


def test_progress_goes_to_its_run_alone() -> None:
    assert channels(route(progress())) == [f"run:{RUN}:progress"]


def test_an_instance_goes_to_the_lineage_of_its_tenant_and_to_its_own_status() -> None:
    older, newer = datetime(2025, 1, 13, tzinfo=UTC), datetime(2025, 1, 14, tzinfo=UTC)
    last_run = uuid4()
    publications = route(
        instance(
            instance_type=InstanceType.MODEL, cause=Cause(path=["prices", "model"]),
            flows=[
                flow(FlowKind.TRAINING, last_run_at=older, last_run_id=uuid4()),
                flow(FlowKind.INFERENCE, last_run_at=newer, last_run_id=last_run),
                flow(FlowKind.MONITORING),
            ],
        )
    )  # fmt: skip
    assert channels(publications) == ["lineage:acme", f"instance:{INSTANCE}:status"]
    status = publications[1].data
    assert (status["status"], status["old_status"], status["seq"]) == ("ready", "stale", 4)
    assert (status["flow_kind"], status["last_run_id"]) == ("inference", str(last_run))
    assert status["last_run_at"] == "2025-01-14T00:00:00Z"
    assert status["cause"]["path"] == ["prices", "model"]


def test_an_instance_that_never_ran_says_so_with_nulls() -> None:
    status = route(instance(flows=[flow(FlowKind.REFRESH)]))[1].data
    assert (status["flow_kind"], status["last_run_id"], status["last_run_at"], status["cause"]) == (None,) * 4


def test_only_the_channel_of_one_entity_carries_a_version() -> None:
    publications = [*route(request()), *route(run()), *route(progress()), *route(instance())]
    assert {p.channel: p.version for p in publications if p.version is not None} == {f"instance:{INSTANCE}:status": 4}


def test_activities_are_not_pushed() -> None:
    recorded = ActivityRecorded(
        tenant="acme", activity_id=uuid4(), resource_type="run", resource_id="x", action="instance.ready",
        occurred_at=NOW,
    )  # fmt: skip
    assert route(recorded) == []


def test_request_run_and_progress_of_one_id_never_share_an_idempotency_key() -> None:
    said = [*route(request(seq=5)), *route(run(seq=5)), *route(progress(seq=5))]
    keys = [p.command()["idempotency_key"] for p in said if p.channel == f"run:{RUN}:progress"]
    assert len(keys) == len(set(keys)) == 3


def test_everything_published_is_json() -> None:
    for publication in [*route(request()), *route(run()), *route(progress()), *route(instance())]:
        json.dumps(publication.command())


# -- behind ----------------------------------------------------------------------------------------------------------


def test_behind_only_the_newest_of_each_entity_and_channel_is_sent_whatever_the_order() -> None:
    publications = [p for seq in (1, 3, 2) for p in route(request(seq=seq))] + route(progress(seq=9))
    kept = coalesced(publications)
    assert [(p.channel, p.entity, p.seq) for p in kept] == [
        ("tenant:acme:feed", f"request:{RUN}", 3),
        (f"run:{RUN}:progress", f"request:{RUN}", 3),
        (f"run:{RUN}:progress", f"progress:{RUN}", 9),
    ]


def test_behind_the_end_of_a_run_is_never_dropped_for_its_progress() -> None:
    said = [*route(run(status=RunStatus.COMPLETED, seq=7)), *route(progress(seq=8))]
    kept = coalesced(said)
    assert [p.data["status"] for p in kept if p.channel == f"run:{RUN}:progress"] == ["completed", "running"]


def test_behind_both_events_of_a_run_stay() -> None:
    said = [*route(run(seq=1)), *route(run(status=RunStatus.FAILED, previous_status=RunStatus.RUNNING, seq=2))]
    events = [p.data["event"] for p in coalesced(said) if p.channel == f"instance:{INSTANCE}:runs"]
    assert events == ["run_started", "run_failed"]


# -- large -----------------------------------------------------------------------------------------------------------


def test_a_small_payload_stays_as_it_is() -> None:
    data = {"type": "x", "seq": 1}
    assert fitting(data) is data


def test_above_the_limit_the_largest_fields_are_left_out_and_it_says_so() -> None:
    data = {"type": "x", "seq": 1, "status": "ready", "small": "s" * 100, "big": "b" * 90_000, "mid": "m" * 50_000}
    fitted = fitting(data)
    assert fitted == {
        "type": "x", "seq": 1, "status": "ready", "small": "s" * 100, "mid": "m" * 50_000, "truncated": True,
    }  # fmt: skip
    assert len(json.dumps(fitted)) <= MOST_BYTES


@pytest.mark.parametrize("text", ["x", "\N{GREEK SMALL LETTER OMEGA}"])
def test_what_identifies_a_message_survives_the_cut(text: str) -> None:
    parameters = {f"p{n}": text * 600 for n in range(100)}
    for publication in route(request(parameters=parameters)):
        assert publication.data["truncated"] is True
        assert "parameters" not in publication.data
        assert (publication.data["run_id"], publication.data["seq"]) == (str(RUN), 1)
        assert UUID(publication.data["instance_id"]) == INSTANCE
        assert len(json.dumps(publication.data).encode()) <= MOST_BYTES
