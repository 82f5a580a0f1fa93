"""One record that can never work is set aside byte for byte; the rest is saved; a replay adds what was missing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from shared.messaging import broker, dead_letters
from shared.messaging.work import Work
from tests.component.messaging.counting import Counting, fact, on_facts
from tests.support.eventually import eventually
from tests.support.harness import ServiceHarness

FACTS = 500


async def letters(harness: ServiceHarness) -> list[dict[str, Any]]:
    found = (await harness.http.get("/v1/ops/dead-letters")).raise_for_status().json()
    return list(found["dead_letters"])


async def test_poison_in_the_middle_is_set_aside_whole_and_its_replay_adds_exactly_what_was_missing(
    counting: Counting,
) -> None:
    repaired = False

    async def handler(batch: Sequence[Any], work: Work[Any]) -> None:
        if repaired:
            for received in batch:
                received.message.payload["n"] = abs(received.message.payload["n"])
        await on_facts(batch, work)

    poison = fact(-1, "poison")
    value, key = json.dumps(poison, indent=3).encode(), b"\x00\xff key"
    headers = [("ce_id", b"poison-1"), ("x", b"\x00\x01"), ("x", b"again"), ("empty", b""), ("null", None)]
    await counting.send([fact(n) for n in range(FACTS // 2)])
    position = await counting.world.kafka.send(counting.topic.name, value, key=key, headers=headers)  # type: ignore[arg-type]
    await counting.send([fact(n) for n in range(FACTS // 2)])
    harness = await counting.start(handler=handler)
    await counting.until_read()
    assert await counting.count("effects") == await counting.count("taken") == FACTS

    [stored] = await counting.rows("select * from dead_letters")
    assert f"{stored['topic']}:{stored['partition']}:{stored['offset']}" == position
    assert (stored["value"], stored["key"], stored["message_id"]) == (value, key, "poison-1")
    assert "n is -1, allowed is 0 and more" in stored["reason"]
    [letter] = await letters(harness)
    whole = (await harness.http.get(f"/v1/ops/dead-letters/{letter['id']}")).json()
    assert whole["value"].encode() == value
    assert whole["key"] == "\x00\\xff key"
    assert whole["headers"] == [["ce_id", "poison-1"], ["x", "\x00\x01"], ["x", "again"], ["empty", ""], ["null", None]]

    again = await harness.http.post(f"/v1/ops/dead-letters/{letter['id']}/replay")
    assert (again.status_code, again.json()["code"]) == (409, "STILL_FAILS")
    [still] = await letters(harness)
    assert (still["status"], still["attempts"]) == ("new", 2)  # counted, and nothing else is left of it
    assert await counting.count("taken") == FACTS

    repaired = True
    assert (await harness.http.post(f"/v1/ops/dead-letters/{letter['id']}/replay")).status_code == 200
    assert await counting.rows("select id::text, ref from effects where ref = 'poison'") == [
        {"id": poison["activity_id"], "ref": "poison"}
    ]
    assert len(await counting.said()) == FACTS + 1
    assert (await letters(harness))[0]["status"] == "replayed"

    assert (await harness.http.post(f"/v1/ops/dead-letters/{letter['id']}/replay")).status_code == 200
    assert await counting.count("effects") == FACTS + 1
    assert len(await counting.said()) == FACTS + 1
    assert await counting.count("taken") == FACTS + 2  # the control: what has no natural key doubles


async def test_bytes_that_cannot_be_read_are_set_aside_and_their_partition_moves_on(opened: Any) -> None:
    counting = await opened(partitions=1)
    kafka, topic = counting.world.kafka, counting.topic.name
    good = json.dumps(fact(1)).encode()
    bad: list[tuple[bytes | None, list[tuple[str, Any]]]] = [
        (b"{", []), (None, []), (b"\xff\xfe", []), (good, [("ce_id", b"\xff")]), (good, [("ce_id", None)]),
        (b'{"type":"unheard.of"}', []), (b"x" * 1_000_000, []), (good, [("ce_id", b"i" * 10_000)]),
        (b"{", [("ce_id", b"i" * 10_000)]),
    ]  # fmt: skip
    for value, headers in bad:
        await kafka.send(topic, value, key=b"k", headers=headers)
    await kafka.send(topic, fact(2))
    await counting.start()
    await counting.until_read()
    assert await counting.count("effects") == 1
    stored = await counting.rows('select value, reason from dead_letters order by "offset"')
    assert [row["value"] for row in stored] == [value for value, _ in bad]
    assert all(row["reason"] for row in stored)


async def test_a_header_name_that_is_not_utf8_is_set_aside_whole_and_its_partition_moves_on(opened: Any) -> None:
    counting = await opened(partitions=1)
    kafka, topic = counting.world.kafka, counting.topic.name
    value, names = json.dumps(fact(1)).encode(), [(b"\xff\x00name", b"held"), ("plain", b"too")]
    await kafka.send(topic, fact(2))
    await kafka.send(topic, value, key=b"k", headers=names)
    await kafka.send(topic, fact(3))
    harness = await counting.start()
    await counting.until_read()
    assert await counting.count("effects") == await counting.count("taken") == 2

    [letter] = await letters(harness)
    assert letter["reason"] == "the header name b'\\xff\\x00name' is not UTF-8"
    whole = (await harness.http.get(f"/v1/ops/dead-letters/{letter['id']}")).json()
    assert (whole["value"].encode(), whole["key"]) == (value, "k")
    assert whole["headers"] == [["\\xff\x00name", "held"], ["plain", "too"]]
    [stored] = await counting.rows("select * from dead_letters")
    kept = dead_letters.record_of(stored).headers
    assert [(name.encode("utf-8", "surrogateescape"), held) for name, held in kept] == [
        (b"\xff\x00name", b"held"), (b"plain", b"too"),
    ]  # fmt: skip
    assert (await harness.http.post(f"/v1/ops/dead-letters/{letter['id']}/replay")).status_code == 409


async def test_the_control_without_our_reading_such_a_name_holds_its_partition_up(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "read_patiently", lambda: None)
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)
    counting = await opened(partitions=1)
    await counting.world.kafka.send(counting.topic.name, fact(1), headers=[(b"\xff", b"")])
    await counting.send([fact(2)])
    await counting.start()
    with pytest.raises(AssertionError):
        await counting.until_read(within_seconds=3)
    assert await counting.count("effects") == 0


async def test_the_same_message_set_aside_twice_is_counted_and_not_stored_again(counting: Counting) -> None:
    harness = await counting.start()
    for _ in range(2):
        await counting.world.kafka.send(counting.topic.name, b"{", headers=[("ce_id", b"twice")])
        await counting.until_read()
    [letter] = await letters(harness)
    assert (letter["message_id"], letter["attempts"]) == ("twice", 2)


async def test_a_letter_that_cannot_be_stored_holds_the_partition_up_until_it_can(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.messaging import consumer as consumers

    store, tries = consumers.dead_letters.store, list[int]()

    async def fails_at_first(conn: Any, **what: Any) -> None:
        tries.append(1)
        if len(tries) <= 2:
            raise ValueError("the letter itself is poison")
        await store(conn, **what)

    monkeypatch.setattr(consumers.dead_letters, "store", fails_at_first)
    harness = await counting.start()
    await counting.send([b"{"])
    await eventually(lambda: _listed(harness))
    assert len(tries) == 3


async def test_letters_are_replayed_by_what_they_have_in_common_and_those_that_fail_again_say_why(
    counting: Counting,
) -> None:
    allowed = 0

    async def handler(batch: Sequence[Any], work: Work[Any]) -> None:
        for received in batch:
            if 0 > received.message.payload["n"] >= allowed:
                received.message.payload["n"] = 1
        await on_facts(batch, work)

    await counting.send([fact(-1, "one"), b"{", fact(-1, "two"), fact(-9, "nine")])
    harness = await counting.start(handler=handler)
    await counting.until_read()
    allowed = -5  # the deploy
    path = "/v1/ops/dead-letters/replay"
    first = (await harness.http.post(path, json={"reason": "N IS -", "limit": 2})).json()
    rest = (await harness.http.post(path, json={"reason": "n is -", "limit": 2, "after": first["cursor"]})).json()
    assert len(first["replayed"] + rest["replayed"]) == 2
    [failed] = first["failed"] + rest["failed"]
    assert failed["reason"] == "InvalidMessage: n is -9, allowed is 0 and more"
    assert [row["ref"] for row in await counting.rows("select ref from effects order by ref")] == ["one", "two"]
    assert {(letter["status"], letter["attempts"]) for letter in await letters(harness)} == {
        ("replayed", 1), ("new", 2), ("new", 1),
    }  # fmt: skip
    dropped = (await harness.http.post("/v1/ops/dead-letters/drop", json={"topic": counting.topic.name})).json()
    assert len(dropped["dropped"]) == 2
    assert (await harness.http.get("/v1/ops/dead-letters?status=new")).json()["dead_letters"] == []
    assert (await harness.http.post(path, json={"tenant": "acme"})).status_code == 422


async def _listed(harness: ServiceHarness) -> bool:
    return len(await letters(harness)) == 1


async def test_a_dropped_letter_stays_to_be_seen_and_one_that_is_not_there_is_404(counting: Counting) -> None:
    harness = await counting.start()
    await counting.send([b"{"])
    [letter] = await eventually(lambda: letters(harness))
    assert (await harness.http.post(f"/v1/ops/dead-letters/{letter['id']}/drop")).status_code == 200
    assert (await letters(harness))[0]["status"] == "dropped"
    assert (await harness.http.get("/v1/ops/dead-letters?status=new")).json()["dead_letters"] == []
    unreadable = await harness.http.post(f"/v1/ops/dead-letters/{letter['id']}/replay")
    assert (unreadable.status_code, unreadable.json()["code"]) == (409, "STILL_UNREADABLE")
    for verb in ("replay", "drop"):
        assert (await harness.http.post(f"/v1/ops/dead-letters/999999/{verb}")).status_code == 404
    answer = await harness.http.get("/v1/ops/dead-letters", headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
