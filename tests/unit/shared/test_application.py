from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import APIRouter
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.application import application
from shared.settings import UrlSettings

AWAY = (
    ConnectionRefusedError(111, "Connection refused"),
    TimeoutError(),
    PoolTimeout("no connection in the pool"),
    DBAPIError("select 1", {}, ConnectionResetError(104, "reset"), connection_invalidated=True),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.AdminShutdownError("terminating connection due to administrator command"),
)


async def ask(error: Exception) -> httpx.Response:
    """The answer to a request that meets this error; what goes on to the server is raised here."""
    router = APIRouter()

    @router.get("/asks")
    async def asks() -> None:
        raise error

    logged = SimpleNamespace(error=lambda *_, **__: None)
    service = SimpleNamespace(name="lineage", routers=[router], mounts=[])
    context: Any = SimpleNamespace(service=service, settings=SimpleNamespace(urls=UrlSettings()), log=logged)
    transport = httpx.ASGITransport(application(context), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
        return await http.get("/asks")


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
async def test_while_postgresql_is_away_each_request_is_answered_and_nothing_goes_on_to_the_server(
    error: Exception,
) -> None:
    answer = await ask(error)
    assert (answer.status_code, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")


async def test_a_fault_of_ours_goes_on_to_the_server() -> None:
    with pytest.raises(ZeroDivisionError):
        await ask(ZeroDivisionError())
