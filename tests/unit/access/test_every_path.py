"""Every path of every service asks who it is and for a scope, also one that is added tomorrow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from shared.application import application
from shared.auth import RUN_SCOPES, SCOPES, mint
from shared.service import Context
from shared.settings import ServiceSettings
from tests.support.harness import SECRETS

SERVICES = ("submission", "run_tracker", "lineage", "notifier")
OPEN = {"/livez", "/readyz", "/metrics", "/version", "/config.json", "/"}
OF_RUNS = {
    "/v1/runs/{run_id}", "/v1/runs/{run_id}/history", "/v1/runs/{run_id}/artifacts",
    "/v1/runs/{run_id}/artifacts/{name}", "/v1/runs/{run_id}/uploads",
}  # fmt: skip
ENV = {
    "RUNTIDE_KAFKA_BOOTSTRAP": "127.0.0.1:1", "RUNTIDE_POSTGRES_DSN": "postgresql://nobody@127.0.0.1:1/nothing",
    "RUNTIDE_PREFECT_API_URL": "http://127.0.0.1:1/api", "RUNTIDE_CENTRIFUGO_API_URL": "http://127.0.0.1:1",
    "RUNTIDE_CENTRIFUGO_API_KEY": "key", "RUNTIDE_CENTRIFUGO_WS_URL": "ws://127.0.0.1:1",
    "RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY": "key", "RUNTIDE_S3_ENDPOINT": "http://127.0.0.1:1",
    "RUNTIDE_S3_ACCESS_KEY": "key", "RUNTIDE_S3_SECRET_KEY": "key", **SECRETS,
}  # fmt: skip


@pytest.fixture(params=SERVICES)
async def app(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service's application; its neighbours are not there."""
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    settings = next(
        value
        for value in vars(import_module(f"services.{request.param}.settings")).values()
        if isinstance(value, type)
        and issubclass(value, ServiceSettings)
        and value.__module__ == f"services.{request.param}.settings"
    )
    context: Context[Any] = Context(import_module(f"services.{request.param}.app").build(settings()))
    app = application(context)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as app.state.http:
        yield app
    await context.close()


def guarded(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of all but the open ones; also of those that the documentation does not show."""
    found = [route for one in app.routes for route in getattr(getattr(one, "original_router", app), "routes", [one])]
    routes = [route for route in (*app.routes, *found) if isinstance(route, APIRoute)]
    shown = set(app.openapi()["paths"])
    assert shown <= {route.path for route in routes}
    return ((method, route.path) for route in routes if route.path not in OPEN for method in route.methods)


async def ask(app: FastAPI, method: str, path: str, scopes: tuple[str, ...] | None, **more: Any) -> httpx.Response:
    headers = {}
    if scopes is not None:
        auth = app.state.context.settings.auth
        said = mint(auth, tenant="acme", actor="ana@acme", scopes=scopes, valid=timedelta(minutes=5), **more)
        headers = {"Authorization": f"Bearer {said}"}
    http: httpx.AsyncClient = app.state.http
    return await http.request(method, path, headers=headers, json={} if method in ("POST", "PUT") else None)


async def test_without_a_token_every_path_is_401_and_the_open_ones_are_listed(app: FastAPI) -> None:
    for method, path in guarded(app):
        answer = await ask(app, method, path, None)
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED"), (method, path)


async def test_without_its_scope_every_path_is_403_and_names_it(app: FastAPI) -> None:
    for method, path in guarded(app):
        answer = await ask(app, method, path, ())
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), (method, path)
        [wanted] = [scope for scope in SCOPES if f"needs {scope};" in answer.json()["detail"]]
        others = await ask(app, method, path, tuple(scope for scope in SCOPES if scope != wanted))
        assert others.status_code == 403, (method, path)


async def test_a_runs_own_token_opens_the_paths_of_runs_alone(app: FastAPI) -> None:
    for method, path in guarded(app):
        if path not in OF_RUNS:
            answer = await ask(app, method, path, (*SCOPES, *RUN_SCOPES), run_id=uuid4())
            assert answer.status_code == 403, (method, path)
            assert "speaks for run" in answer.json()["detail"]
