"""One header name that is not UTF-8 costs nobody else anything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from shared.messaging.header_names import PatientRecords

NONE, GZIP = 0, 1
BAD = os.fsdecode(b"\xff\x00\xc3")


class Name(str):
    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return super().encode(encoding, "surrogateescape")


def batch(first: int, *names: str, compression: int = NONE) -> bytes:
    """A batch as the broker stores it, beginning at this offset; a record per header name."""
    builder = _DefaultRecordBatchBuilderPy(2, compression, 0, -1, -1, 0, 1_000_000)
    for number, name in enumerate(names):
        headers = [("ok", b"1"), (Name(name), b"\xfe"), ("null", None)]
        builder.append(number, 1000 + number, f"k{number}".encode(), None if number % 3 else b"\xfd", headers)
    built = bytes(builder.build())
    return first.to_bytes(8, "big") + built[8:]


def read(records: type[Any], raw: bytes, since: int = 0) -> Sequence[Any]:
    return list(PartitionRecords(TopicPartition("t", 0), records(raw), None, since, None, None, True, READ_COMMITTED))


@pytest.mark.parametrize("compression", [NONE, GZIP])
def test_every_record_of_a_fetch_is_read_and_the_name_keeps_its_bytes(compression: int) -> None:
    def fetched(name: str) -> bytes:
        return batch(0, "a", "b") + batch(2, "c", name, "d", compression=compression) + batch(5, "e")

    found, good = read(PatientRecords, fetched(BAD)), read(MemoryRecords, fetched("xyz"))
    assert [record.headers[1][0] for record in found] == ["a", "b", "c", BAD, "d", "e"]
    assert [_but_for_the_name(record) for record in found] == [_but_for_the_name(record) for record in good]


def test_a_fetch_that_begins_inside_the_batch_gives_only_what_follows() -> None:
    assert [record.offset for record in read(PatientRecords, batch(7, "a", BAD, "b"), since=8)] == [8, 9]


def test_a_fetch_without_such_a_name_is_what_aiokafka_reads() -> None:
    raw = batch(0, "a", "ü") + batch(2, "c", compression=GZIP)
    assert read(PatientRecords, raw) == read(MemoryRecords, raw)


def test_the_control_aiokafka_by_itself_raises() -> None:
    with pytest.raises(UnicodeDecodeError):
        read(MemoryRecords, batch(0, "a", BAD))


def _but_for_the_name(record: Any) -> tuple[Any, ...]:
    ok, (_, held), null = record.headers
    return record.offset, record.timestamp, record.key, record.value, ok, held, null
