"""Where a flow finds what another flow left: one small pointer per flow of an instance, to the run's own artifacts.

`s3://data/<tenant>/<instance>/<flow kind>/latest.json` names the run and its artifacts. It is written after the seal
and before the flow returns: so it exists when Prefect says Completed, and a reader that was admitted on a version finds
that version or a newer one, never an older one. A run in mode preview publishes nothing.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from runtide.flow import RunReport

BUCKET = "data"


class NotPublished(LookupError):
    """An upstream has left nothing yet."""

    code = "NOT_PUBLISHED"


@dataclass(frozen=True, slots=True)
class Published:
    """What the newest run of a flow left: artifact name → reference."""

    instance: str
    flow_kind: str
    run_id: str
    attempt: int
    digest: str | None
    last_data_date: str | None
    artifacts: dict[str, str]


class Catalog:
    """The published outputs of one tenant."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant

    def latest(self, instance: str, flow_kind: str) -> Published | None:
        from minio.error import S3Error

        try:
            return Published(**json.loads(self._get(BUCKET, self._key(instance, flow_kind))))
        except S3Error as error:
            if error.code in ("NoSuchKey", "NoSuchBucket"):
                return None
            raise

    def frame(self, instance: str, flow_kind: str, artifact: str) -> pd.DataFrame:
        """Raises: NotPublished."""
        import pandas as pd

        return pd.read_parquet(io.BytesIO(self._artifact(instance, flow_kind, artifact)))

    def document(self, instance: str, flow_kind: str, artifact: str) -> dict[str, Any]:
        """Raises: NotPublished."""
        return dict(json.loads(self._artifact(instance, flow_kind, artifact)))

    def publish(
        self,
        run: RunReport,
        instance: str,
        flow_kind: str,
        artifacts: dict[str, str | None],
        *,
        digest: str | None = None,
        last_data_date: str | None = None,
    ) -> None:
        published = Published(
            instance=instance,
            flow_kind=flow_kind,
            run_id=str(run.run_id),
            attempt=run.attempt or 1,
            digest=digest,
            last_data_date=last_data_date,
            artifacts={name: ref for name, ref in artifacts.items() if ref},
        )
        content = json.dumps(asdict(published), indent=1).encode()
        self._put(BUCKET, self._key(instance, flow_kind), content)

    def _key(self, instance: str, flow_kind: str) -> str:
        return f"{self._tenant}/{instance}/{flow_kind}/latest.json"

    def _artifact(self, instance: str, flow_kind: str, artifact: str) -> bytes:
        published = self.latest(instance, flow_kind)
        if published is None or artifact not in published.artifacts:
            raise NotPublished(f"{instance} ({flow_kind}) has published no {artifact}; run it first")
        bucket, _, key = published.artifacts[artifact].removeprefix("s3://").partition("/")
        return self._get(bucket, key)

    def _get(self, bucket: str, key: str) -> bytes:
        response = self._client.get_object(bucket, key)
        try:
            return bytes(response.read())
        finally:
            response.close()
            response.release_conn()

    def _put(self, bucket: str, key: str, content: bytes) -> None:
        from minio.error import S3Error

        def put() -> None:
            self._client.put_object(bucket, key, io.BytesIO(content), len(content), content_type="application/json")

        try:
            put()
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
            self._client.make_bucket(bucket)
            put()

    @cached_property
    def _client(self) -> Any:
        from minio import Minio

        endpoint = os.environ.get("RUNTIDE_S3_ENDPOINT")
        if not endpoint:
            raise RuntimeError("RUNTIDE_S3_ENDPOINT is not set: the flows hand data to each other through S3")
        scheme, _, host = endpoint.rpartition("://")
        return Minio(
            host,
            access_key=os.environ.get("RUNTIDE_S3_ACCESS_KEY"),
            secret_key=os.environ.get("RUNTIDE_S3_SECRET_KEY"),
            secure=scheme == "https",
            region=os.environ.get("RUNTIDE_S3_REGION", "us-east-1"),
        )
