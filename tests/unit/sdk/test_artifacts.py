"""Artifacts come through presigned URLs, and our token goes nowhere else."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from pyarrow import parquet
from runtide import errors
from runtide.artifacts import Artifact
from runtide.client import Runtide

from tests.unit.sdk.memory_log import MemoryLog
from tests.unit.sdk.stories import RUN, SETTINGS, URLS

REF = f"s3://runs/{RUN}/equity_curve.parquet"


def table_bytes() -> bytes:
    written = io.BytesIO()
    parquet.write_table(pa.table({"equity": [1.0, 1.5]}), written)
    return written.getvalue()


def served(content: bytes | None) -> Runtide:
    def services(sent: httpx.Request) -> httpx.Response:
        if sent.url.host == "tracker.test":
            assert sent.headers["authorization"] == "Bearer secret"
            assert sent.url.path == f"/v1/runs/{RUN}/artifacts/equity_curve"
            return httpx.Response(307, headers={"location": "http://s3.test/runs/x?signature=1"})
        assert "authorization" not in sent.headers
        return httpx.Response(404) if content is None else httpx.Response(200, content=content)

    return Runtide(replace(SETTINGS, token="secret", **URLS), log=MemoryLog(), transport=httpx.MockTransport(services))


async def test_a_parquet_artifact_is_read_as_a_frame() -> None:
    async with served(table_bytes()) as client:
        frame = await Artifact(client, RUN, "equity_curve", REF).read_parquet()
    assert list(frame["equity"].to_numpy()) == [1.0, 1.5]


async def test_an_artifact_is_downloaded_under_its_own_name(tmp_path: Path) -> None:
    async with served(b"bytes") as client:
        path = await Artifact(client, RUN, "equity_curve", REF).download(tmp_path)
    assert path == tmp_path / "equity_curve.parquet"
    assert path.read_bytes() == b"bytes"
    assert list(tmp_path.iterdir()) == [path]


async def test_a_download_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    async with served(None) as client:
        with pytest.raises(errors.ApiError, match="the object store answered 404"):
            await Artifact(client, RUN, "equity_curve", REF).download(tmp_path / "curve")
    assert list(tmp_path.iterdir()) == []
