from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated, Any

import anyio.to_thread
import asyncpg
import httpx
import pytest
from fastapi import APIRouter, Depends
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.application import application
from shared.http import Ctx, context_of
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

    return await answered_by(router)


async def answered_by(router: APIRouter) -> httpx.Response:
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


async def threads_of_a_request(monkeypatch: pytest.MonkeyPatch, router: APIRouter) -> int:
    taken: list[Any] = []
    run_sync = anyio.to_thread.run_sync

    async def counting(*args: Any, **named: Any) -> Any:
        taken.append(args)
        return await run_sync(*args, **named)

    monkeypatch.setattr(anyio.to_thread, "run_sync", counting)
    assert (await answered_by(router)).status_code == 200
    return len(taken)


async def test_a_request_waits_for_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter()

    @router.get("/asks")
    async def asks(ctx: Ctx) -> str:
        return str(ctx.service.name)

    assert await threads_of_a_request(monkeypatch, router) == 0


async def test_control_a_dependency_that_is_a_plain_function_takes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter()

    @router.get("/asks")
    async def asks(context: Annotated[Any, Depends(context_of)]) -> str:
        return str(context.service.name)

    assert await threads_of_a_request(monkeypatch, router) == 1
