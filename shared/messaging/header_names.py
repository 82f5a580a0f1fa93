"""Header names that are not UTF-8: aiokafka's parser raises on one, inside the fetch, for ever (docs/adr/0014).

The fact not to break: a batch is read by aiokafka's own fast parser, and by the patient one only where that one raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, SupportsIndex, overload

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

LENGTH_AT, LENGTH_ENDS_AT = 8, 12  # in the frame of a batch: its offset, its length, then so many bytes


def read_patiently() -> None:
    """From now on this process's consumers hand such a name over with surrogate escapes, as `os.fsdecode` would."""
    fetcher.MemoryRecords = PatientRecords


class PatientRecords:
    """What one fetch brought of one partition; stands where aiokafka expects its `MemoryRecords`."""

    __slots__ = ("_raw", "_records", "has_next", "size_in_bytes")

    def __init__(self, raw: bytes) -> None:
        self._raw, self._records = raw, MemoryRecords(raw)
        self.has_next, self.size_in_bytes = self._records.has_next, self._records.size_in_bytes

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        return _Batch(batch, self._raw) if isinstance(batch, DefaultRecordBatch) else batch


class _Batch:
    """aiokafka's batch, with the bytes of the fetch in case that it cannot be read."""

    __slots__ = (
        "_batch", "_raw", "base_offset", "is_control_batch", "is_transactional", "next_offset", "producer_id",
        "validate_crc",
    )  # fmt: skip

    def __init__(self, batch: Any, raw: bytes) -> None:
        self._batch, self._raw = batch, raw
        self.base_offset, self.next_offset, self.producer_id = batch.base_offset, batch.next_offset, batch.producer_id
        self.is_control_batch, self.is_transactional = batch.is_control_batch, batch.is_transactional
        self.validate_crc = batch.validate_crc

    def __iter__(self) -> Iterator[Any]:
        try:
            return iter(list(self._batch))
        except UnicodeDecodeError:
            return iter(_PatientBatch(_frame(self._raw, self.base_offset)))

    def __next__(self) -> Any:
        return next(self._batch)


def _frame(raw: bytes, base_offset: int) -> memoryview:
    """The bytes of the batch that begins at this offset."""
    at = 0
    while int.from_bytes(raw[at : at + LENGTH_AT]) != base_offset:
        at += LENGTH_ENDS_AT + int.from_bytes(raw[at + LENGTH_AT : at + LENGTH_ENDS_AT])
    return memoryview(raw)[at : at + LENGTH_ENDS_AT + int.from_bytes(raw[at + LENGTH_AT : at + LENGTH_ENDS_AT])]


class _PatientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    """The parser in Python, over bytes whose slices decode whatever they are."""

    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _PatientBytes(self._buffer)


class _PatientBytes(bytearray):
    @overload
    def __getitem__(self, at: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> _PatientBytes: ...
    def __getitem__(self, at: SupportsIndex | slice) -> int | _PatientBytes:
        found = super().__getitem__(at)
        return _PatientBytes(found) if isinstance(found, bytearray) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "surrogateescape")
