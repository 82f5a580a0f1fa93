"""What a run made, read through run_tracker's presigned URLs: no credentials of the object store are needed."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

from runtide.errors import ApiError, ExtraMissing

if TYPE_CHECKING:
    from runtide.client import Runtide


class Artifact:
    """`ref` is where it lies (`s3://runs/<run id>/…`)."""

    def __init__(self, client: Runtide, run_id: UUID, name: str, ref: str) -> None:
        self.run_id = run_id
        self.name = name
        self.ref = ref
        self._client = client

    def __repr__(self) -> str:
        return f"<Artifact {self.name} {self.ref}>"

    async def url(self) -> str:
        """Presigned, good for minutes. Raises: NotFound, ServiceUnavailable, ConfigurationError (no run_tracker)."""
        path = f"/v1/runs/{self.run_id}/artifacts/{quote(self.name, safe='')}"
        answer = await self._client.api.call("run_tracker", "GET", path)
        location = answer.get("location")
        if not isinstance(location, str):
            raise ApiError(f"run_tracker answered no address for the artifact {self.name}")
        return location

    async def read_bytes(self) -> bytes:
        """The whole of it, in memory."""
        async with self._client.api.download(await self.url()) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def download(self, to: str | Path) -> Path:
        """Into a file, or under its own name into a directory. What is cut short leaves no file behind."""
        path = Path(to)
        if await asyncio.to_thread(path.is_dir):
            path = path / self.ref.rsplit("/", 1)[-1]
        partial = path.with_name(f"{path.name}.partial")
        file = await asyncio.to_thread(partial.open, "wb")
        try:
            async with self._client.api.download(await self.url()) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
        except BaseException:
            file.close()
            partial.unlink(missing_ok=True)
            raise
        file.close()
        return await asyncio.to_thread(partial.replace, path)

    async def read_parquet(self) -> Any:
        """A pandas DataFrame; without pandas a pyarrow Table. Raises: ExtraMissing without pyarrow."""
        try:
            from pyarrow import parquet
        except ImportError:
            raise ExtraMissing("reading parquet needs pyarrow: pip install 'runtide[parquet]'") from None
        table = await asyncio.to_thread(parquet.read_table, io.BytesIO(await self.read_bytes()))
        try:
            return table.to_pandas()
        except ImportError:
            return table
