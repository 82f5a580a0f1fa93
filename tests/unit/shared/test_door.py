"""What comes through an open door of Kafka: what its token lets pass, and which answer the rest gets."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr
from runtide_schemas.topics import INSTANCES_COMMANDS, RUNS_COMMANDS, RUNS_REPORTS, TOPICS, Topic

from shared.auth import mint
from shared.keys import Keys
from shared.messaging.decode import Received, Record, decode
from shared.messaging.door import Door, Unproven, own_token, refusal
from shared.settings import AuthSettings

KEY, OTHER = "k" * 32, "o" * 32
AUTH = AuthSettings(hmac_keys=SecretStr(KEY))
NOW = datetime(2025, 1, 15, 9, tzinfo=UTC)
RUN = uuid4()


def token(*scopes: str, tenant: str = "acme", actor: str = "ana@acme", key: str = KEY, **more: Any) -> str:
    auth = AuthSettings(hmac_keys=SecretStr(key))
    said = {"valid": timedelta(hours=1), "now": NOW - timedelta(minutes=1), **more}
    return mint(auth, tenant=tenant, actor=actor, scopes=scopes or ("requests:write",), **said)


def submit(**more: Any) -> dict[str, Any]:
    return {"type": "run.submit", "tenant": "acme", "instance": "momentum", "command_id": "c1", **more}


def report(**more: Any) -> dict[str, Any]:
    return {"type": "run.metrics_reported", "tenant": "acme", "run_id": str(RUN), "metrics": {}, **more}


def pass_through(
    value: dict[str, Any], *tokens: str | bytes, topic: Topic = RUNS_COMMANDS, at: datetime = NOW, keys: str = KEY
) -> Received[Any] | Unproven:
    """What becomes of a record that the broker appended at that time."""
    headers = [("Authorization", t if isinstance(t, bytes) else f"Bearer {t}".encode()) for t in tokens]
    record = Record(topic.name, 1, 7, int(at.timestamp() * 1000), None, json.dumps(value).encode(), tuple(headers), 7)
    [decoded] = decode(topic, [record])
    assert isinstance(decoded, Received), decoded
    door = Door(topic, Keys(AuthSettings(hmac_keys=SecretStr(keys)), httpx.AsyncClient()))
    believed, unproven = door.judge([decoded])
    [found] = believed + unproven
    return found


def refused(*args: Any, **kwargs: Any) -> Unproven:
    found = pass_through(*args, **kwargs)
    assert isinstance(found, Unproven), found
    return found


def believed(*args: Any, **kwargs: Any) -> Any:
    found = pass_through(*args, **kwargs)
    assert isinstance(found, Received), found
    return found.message


def test_the_actor_is_the_tokens_also_where_the_message_names_none() -> None:
    assert believed(submit(), token()).actor == "ana@acme"
    assert believed(submit(actor="ana@acme"), token()).actor == "ana@acme"
    assert believed(submit(mode="sideways"), token()).actor == "ana@acme"  # an InvalidSubmission


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        ((), "there is none"),
        ((b"",), "Not enough segments"),
        ((b"\xc3\xa9.b.c",), ""),
        ((token(), token()), "there are 2"),
        ((token(key=OTHER),), "signature"),
        ((token(now=NOW - timedelta(hours=2)),), "expired"),
        ((token(now=NOW + timedelta(hours=1)),), "before"),
    ],
)
def test_no_token_or_one_that_does_not_hold_is_unauthenticated(tokens: tuple[Any, ...], why: str) -> None:
    found = refused(submit(), *tokens)
    assert (found.code, found.tenant) == ("UNAUTHENTICATED", "acme")
    assert why in found.reason


def test_a_message_that_contradicts_its_token_is_a_mismatch_told_to_the_sender() -> None:
    found = refused(submit(tenant="globex"), token())
    assert (found.code, found.tenant) == ("TENANT_MISMATCH", "acme")
    assert "globex" in found.reason
    found = refused(submit(actor="system:lineage"), token())
    assert (found.code, found.tenant) == ("TENANT_MISMATCH", "acme")
    assert "system:lineage" in found.reason


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.open_door], ids=lambda topic: topic.name)
def test_each_open_door_asks_for_its_scope(topic: Topic) -> None:
    value = {
        RUNS_COMMANDS: submit(), RUNS_REPORTS: report(),
        INSTANCES_COMMANDS: {"type": "instance.retire", "tenant": "acme", "instance": "momentum"},
    }[topic]  # fmt: skip
    others = {"requests:write", "runs:report", "instances:write", "ops"} - {topic.scope}
    assert believed(value, token(topic.scope), topic=topic).tenant == "acme"
    found = refused(value, token(*sorted(others)), topic=topic)
    assert found.code == "FORBIDDEN"
    assert f"needs {topic.scope}" in found.reason


def test_a_runs_own_token_speaks_for_that_run_alone() -> None:
    own = token("runs:report", run_id=RUN, actor=f"run:{RUN}")
    assert believed(report(), own, topic=RUNS_REPORTS).run_id == RUN
    assert refused(report(run_id=str(uuid4())), own, topic=RUNS_REPORTS).code == "FORBIDDEN"
    assert refused(submit(), own).code == "FORBIDDEN"


def test_a_token_is_judged_when_the_broker_took_the_record_however_late_it_is_read() -> None:
    then = NOW - timedelta(days=400)
    old = token(now=then)
    assert believed(submit(), old, at=then + timedelta(minutes=1)).tenant == "acme"
    assert refused(submit(), old, at=NOW).code == "UNAUTHENTICATED"  # the control: the same token, sent today


def test_what_a_service_sends_through_an_open_door_is_believed() -> None:
    keys = Keys(AUTH, httpx.AsyncClient())
    value = submit(actor="system:lineage", trigger="upstream")
    carried = own_token(keys, RUNS_COMMANDS, json.dumps(value).encode(), now=NOW)
    assert believed(value, carried).trigger == "upstream"
    assert refused({**value, "tenant": "globex"}, carried).code == "TENANT_MISMATCH"


def test_the_answer_is_one_however_often_the_record_is_read() -> None:
    first, again = (
        refusal(refused(submit()), about="x", of="request", command_id="c1", now=NOW + timedelta(days=day))
        for day in (0, 1)
    )
    assert first.activity_id == again.activity_id
    assert first.payload["code"] == "UNAUTHENTICATED"
    assert first.payload["command_id"] == "c1"
    assert isinstance(first.activity_id, UUID)
