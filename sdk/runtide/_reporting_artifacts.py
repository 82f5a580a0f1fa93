"""Artifacts: what a flow leaves in S3 under its run's own prefix, and the bytes that it becomes.

The fact not to break: everything lies below `<run id>/` (attempt n ≥ 2: `<run id>/attempt-n/`); a reference elsewhere
is refused by run_tracker.
"""

from __future__ import annotations

import io
import json
import mimetypes
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from runtide._reporting_digest import as_table

PARQUET = "application/vnd.apache.parquet"
JSON = "application/json"
BYTES = "application/octet-stream"

_ARTIFACT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TYPES = {".parquet": PARQUET, ".json": JSON, ".txt": "text/plain; charset=utf-8", ".csv": "text/csv; charset=utf-8"}


class ArtifactNotStored(Exception):
    """S3 did not take an artifact: the run's outputs are not complete, so the flow fails."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What was stored; `ref` is None where no S3 is configured."""

    name: str
    ref: str | None
    size_bytes: int
    sha256: str
    content_type: str


@dataclass(frozen=True, slots=True)
class Encoded:
    file_name: str
    content: bytes
    content_type: str


class Store(Protocol):
    """Puts an object; the seam at which tests are given a fake, and other ways of upload a place."""

    def put(self, bucket: str, key: str, content: bytes, content_type: str) -> str:
        """The reference `s3://bucket/key`. Raises: ArtifactNotStored."""
        ...


def encode(name: str, content: Any, content_type: str | None = None) -> Encoded:
    """Frames become parquet, dicts and lists JSON; bytes and files stay what they are.

    A suffix in the name is kept; else it follows from the content.

    Raises:
        ValueError: the name does not fit into a reference.
        TypeError: nobody can tell what the content is to become.
    """
    if not _ARTIFACT_NAME.fullmatch(name):
        raise ValueError(f"artifact name {name[:80]!r}; allowed are 1 to 128 letters, digits, '.', '_' and '-'")
    suffix = Path(name).suffix
    if isinstance(content, bytes | bytearray | memoryview):
        return _encoded(name, suffix or ".bin", bytes(content), content_type)
    if isinstance(content, os.PathLike):
        path = Path(content)
        return _encoded(name, suffix or path.suffix or ".bin", path.read_bytes(), content_type)
    if (table := as_table(content)) is not None:
        return _encoded(name, suffix or ".parquet", _parquet(table), content_type)
    if isinstance(content, dict | list):
        text = json.dumps(content, indent=1, default=str, allow_nan=False)
        return _encoded(name, suffix or ".json", text.encode(), content_type)
    raise TypeError(f"artifact {name!r} is a {type(content).__name__}; allowed are frames, bytes, Path, dict and list")


def _encoded(name: str, suffix: str, content: bytes, content_type: str | None) -> Encoded:
    file_name = name if name.endswith(suffix) else f"{name}{suffix}"
    guessed = _TYPES.get(suffix) or mimetypes.guess_type(file_name)[0] or BYTES
    return Encoded(file_name, content, content_type or guessed)


def _parquet(table: Any) -> bytes:
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


class S3Store:
    """S3 with credentials, through the minio SDK; a bucket that is missing is made."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, region: str) -> None:
        self._endpoint, self._access_key, self._secret_key, self._region = endpoint, access_key, secret_key, region

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> S3Store | None:
        """None where no S3 is configured."""
        if not environment.get("RUNTIDE_S3_ENDPOINT"):
            return None
        return cls(
            endpoint=environment["RUNTIDE_S3_ENDPOINT"],
            access_key=environment.get("RUNTIDE_S3_ACCESS_KEY", ""),
            secret_key=environment.get("RUNTIDE_S3_SECRET_KEY", ""),
            region=environment.get("RUNTIDE_S3_REGION", "us-east-1"),
        )

    @cached_property
    def client(self) -> Any:
        from minio import Minio

        scheme, _, host = self._endpoint.rpartition("://")
        return Minio(
            host.rstrip("/"),
            access_key=self._access_key or None,
            secret_key=self._secret_key or None,
            secure=scheme == "https",
            region=self._region,
        )

    def put(self, bucket: str, key: str, content: bytes, content_type: str) -> str:
        from minio.error import MinioException
        from urllib3.exceptions import HTTPError

        try:
            self._put_or_make_bucket(bucket, key, content, content_type)
        except (MinioException, HTTPError, OSError) as error:
            raise ArtifactNotStored(f"s3://{bucket}/{key} at {self._endpoint}: {error}") from error
        return f"s3://{bucket}/{key}"

    def _put_or_make_bucket(self, bucket: str, key: str, content: bytes, content_type: str) -> None:
        from minio.error import S3Error

        def put() -> None:
            self.client.put_object(bucket, key, io.BytesIO(content), len(content), content_type=content_type)

        try:
            put()
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
            self.client.make_bucket(bucket)
            put()
