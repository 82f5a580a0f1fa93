"""`runtide.backfill`: what is sent, how far it is said to be, and how it ends."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import httpx
import pytest
from runtide import errors
from runtide_schemas.backfills import Progress
from runtide_schemas.message import Message
from runtide_schemas.vocabulary import Code, RequestStatus, run_id_of

from tests.unit.sdk.memory_log import MemoryLog
from tests.unit.sdk.stories import request
from tests.unit.sdk.test_client import over_http, over_kafka

RUN = run_id_of("acme", "b1")
RANGE: dict[str, Any] = {"start": date(2024, 1, 2), "end": "2024-01-08", "command_id": "b1"}
ASKED = {"start": "2024-01-02", "end": "2024-01-08", "step": None, "max_open": 1, "order": "oldest_first",
         "parameter": "data_date", "on_failure": "stop"}  # fmt: skip


def story(status: str, **end: Any) -> list[Message]:
    said = {"command_id": "b1", "instance_name": "prices"}
    half = Progress(total=5, done=1, failed=1, open=2)
    return [
        request("requested", 1, RUN, **said),
        request("parked", 2, RUN, progress=half, message="1 of 5 done, 2 open, 1 failed", **said),
        request(status, 3, RUN, **end, **said),
    ]


async def test_its_updates_say_how_far_it_is_and_its_result_that_every_date_is_done() -> None:
    log = MemoryLog(answers=lambda _: story("finished", progress=Progress(total=5, done=5), message="5 of 5 done"))
    async with over_kafka(log) as client:
        run = await client.backfill("prices", **RANGE)
        updates = [update async for update in run.updates()]
        result = await run.result()
    assert run.id == RUN
    assert json.loads(log.sent[0][2])["backfill"] == ASKED
    assert [update.progress_pct for update in updates] == [None, 40.0, 100.0]
    assert (result.status, result.metrics, result.artifacts) == (RequestStatus.FINISHED, {}, {})


@pytest.mark.parametrize(
    ("end", "error", "says"),
    [
        (
            {"status": "failed", "code": Code.BACKFILL_INCOMPLETE, "message": "4 of 5 done, 1 failed (2024-01-04)"},
            errors.RunFailed,
            "the backfill failed: BACKFILL_INCOMPLETE: 4 of 5 done, 1 failed (2024-01-04)",
        ),
        ({"status": "cancelled"}, errors.RunCancelled, "was cancelled"),
        ({"status": "refused", "code": Code.INVALID_COMMAND, "message": "no session"}, errors.RunRefused, "no session"),
    ],
)
async def test_a_backfill_that_is_not_done_raises_how_it_ended(
    end: dict[str, Any], error: type[errors.RunEnded], says: str
) -> None:
    async with over_kafka(MemoryLog(answers=lambda _: story(**end))) as client:
        run = await client.backfill("prices", **RANGE)
        with pytest.raises(error, match=re.escape(says)) as caught:
            await run.result()

    assert getattr(caught.value, "code", None) == end.get("code")


async def test_over_http_the_same_is_posted_without_what_is_lineages_to_say() -> None:
    posted: list[dict[str, Any]] = []

    def serve(sent: httpx.Request) -> httpx.Response:
        posted.append(json.loads(sent.content))
        return httpx.Response(202, json={})

    async with over_http(serve) as client:
        await client.backfill("prices", via="http", **RANGE)
    assert posted[0]["backfill"] == ASKED
    assert not {"trigger", "parent_run_id", "tenant"} & posted[0].keys()


async def test_a_range_that_can_not_be_is_refused_before_anything_is_sent() -> None:
    log = MemoryLog()
    async with over_kafka(log) as client:
        with pytest.raises(errors.InvalidCommand, match="end 2024-01-01 is before start 2024-01-02"):
            await client.backfill("prices", start="2024-01-02", end="2024-01-01")
    assert log.sent == []
