"""S3 behind a port: references `s3://bucket/key`, presigned addresses, small puts. Any S3; the SDK is minio's."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import S3Error

from shared.errors import InvalidMessage, ObjectStoreUnavailable
from shared.settings import S3Settings


@dataclass(frozen=True, slots=True)
class Stored:
    """What S3 says of an object."""

    size_bytes: int
    content_type: str | None
    etag: str


class ObjectStore(Protocol):
    """What Runtide needs of S3. Every method raises ObjectStoreUnavailable when it is away."""

    async def presigned_get(self, ref: str, *, expires_seconds: int, download_name: str | None = None) -> str: ...
    async def presigned_put(self, ref: str, *, expires_seconds: int) -> str: ...
    async def stat(self, ref: str) -> Stored | None: ...
    async def put(self, ref: str, content: bytes, content_type: str) -> None: ...


def parse_ref(ref: str) -> tuple[str, str]:
    """`s3://bucket/key` → (bucket, key).

    Raises:
        InvalidMessage: it is not such a reference, or its key climbs.
    """
    parts = urlsplit(ref)
    key = parts.path.lstrip("/")
    if parts.scheme != "s3" or not parts.netloc or not key or ".." in key.split("/"):
        raise InvalidMessage(f"{ref!r} is not a reference of the form s3://bucket/key")
    return parts.netloc, key


class S3ObjectStore:
    """The port on minio's SDK, whose calls block and so run in threads; signing needs no network."""

    def __init__(self, settings: S3Settings) -> None:
        endpoint = urlsplit(settings.endpoint)
        self._client = Minio(
            endpoint.netloc,
            access_key=settings.access_key.get_secret_value(),
            secret_key=settings.secret_key.get_secret_value(),
            secure=endpoint.scheme == "https",
            region=settings.region,
            http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=3, read=10), retries=False),
        )

    async def presigned_get(self, ref: str, *, expires_seconds: int, download_name: str | None = None) -> str:
        bucket, key = parse_ref(ref)
        headers: dict[str, str | list[str] | tuple[str]] | None = None
        if download_name is not None:
            headers = {"response-content-disposition": f'attachment; filename="{download_name}"'}
        return self._client.presigned_get_object(
            bucket, key, expires=timedelta(seconds=expires_seconds), response_headers=headers
        )

    async def presigned_put(self, ref: str, *, expires_seconds: int) -> str:
        bucket, key = parse_ref(ref)
        return self._client.presigned_put_object(bucket, key, expires=timedelta(seconds=expires_seconds))

    async def stat(self, ref: str) -> Stored | None:
        bucket, key = parse_ref(ref)
        try:
            found = await asyncio.to_thread(self._client.stat_object, bucket, key)
        except S3Error as error:
            if error.code in ("NoSuchKey", "NoSuchBucket", "NotFound"):
                return None
            raise ObjectStoreUnavailable(f"S3 answered {error.code}: {error.message}") from error
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise ObjectStoreUnavailable(str(error)) from error
        return Stored(found.size or 0, found.content_type, found.etag or "")

    async def put(self, ref: str, content: bytes, content_type: str) -> None:
        bucket, key = parse_ref(ref)
        try:
            await asyncio.to_thread(
                self._client.put_object, bucket, key, io.BytesIO(content), len(content), content_type=content_type
            )
        except (OSError, S3Error, urllib3.exceptions.HTTPError) as error:
            raise ObjectStoreUnavailable(str(error)) from error
