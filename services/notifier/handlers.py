"""What notifier remembers of what it reads: whose things are, and what happened."""

from __future__ import annotations

from collections.abc import Sequence

from runtide_schemas.activities import ActivityRecorded
from runtide_schemas.instances import InstanceStatusChanged
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.runs import RunStatusChanged

from services.notifier.store import NotifierStore
from shared.messaging.decode import Received
from shared.messaging.work import Work


async def on_requests_status(batch: Sequence[Received[RequestStatusChanged]], work: Work[NotifierStore]) -> None:
    """Whose request; a cancel that came before its submit names an id without owning it."""
    messages = (received.message for received in batch)
    await work.store.own("run", [(m.run_id, m.tenant) for m in messages if m.instance_id is not None], now=work.now)


async def on_runs_status(batch: Sequence[Received[RunStatusChanged]], work: Work[NotifierStore]) -> None:
    """Whose run; of those that nobody requested this is the first word."""
    messages = (received.message for received in batch)
    await work.store.own("run", [(m.run_id, m.tenant) for m in messages], now=work.now)


async def on_instances_status(batch: Sequence[Received[InstanceStatusChanged]], work: Work[NotifierStore]) -> None:
    """Whose instance."""
    messages = (received.message for received in batch)
    await work.store.own("instance", [(m.instance_id, m.tenant) for m in messages], now=work.now)


async def on_activities(batch: Sequence[Received[ActivityRecorded]], work: Work[NotifierStore]) -> None:
    """What happened, for people."""
    await work.store.record([received.message for received in batch])
