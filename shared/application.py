"""The HTTP application of every service: its routers, health, operations, and how errors look."""

from __future__ import annotations

from typing import Any

from asyncpg import InterfaceError, PostgresError
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from shared import health, ops, ops_announce, ops_dead_letters
from shared.http import Ctx, Problem, context_of
from shared.postgres import is_transient
from shared.service import Context


def application(context: Context[Any]) -> FastAPI:
    """The service's HTTP application."""
    service = context.service
    app = FastAPI(
        title=f"Runtide {service.name}", version=health.version(), openapi_url="/openapi.json", docs_url="/docs"
    )
    app.state.context = context
    origins = [url for url in (context.settings.urls.dashboard_url, context.settings.urls.notifier_url) if url]
    app.add_middleware(
        CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST", "PUT"],
        allow_headers=["authorization", "content-type", "idempotency-key"],
    )  # fmt: skip
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    # What PostgreSQL's absence looks like, by name: behind one for `Exception` the error goes on to the server, that
    # logs a traceback for each request of an outage.
    for kind in (OSError, PoolTimeout, DBAPIError, InterfaceError, PostgresError, Exception):
        app.add_exception_handler(kind, _on_error)
    for router in (_health, ops.router, ops_announce.router, ops_dead_letters.router, *service.routers):
        app.include_router(router)
    for mount in service.mounts:
        mount(app)
    return app


_health = APIRouter(tags=["health"])


@_health.get("/livez")
async def livez(ctx: Ctx) -> JSONResponse:
    """Whether the loop turns and every consumer is at the end or moving."""
    problems = health.liveness(ctx)
    return JSONResponse({"alive": not problems, "problems": problems}, 200 if not problems else 503)


@_health.get("/readyz")
async def readyz(ctx: Ctx) -> JSONResponse:
    """Whether PostgreSQL, Kafka, migrations and topics are there; neighbours are listed, not required."""
    report = await health.readiness(ctx)
    return JSONResponse(report, 200 if report["ready"] else 503)


@_health.get("/metrics")
async def metrics() -> PlainTextResponse:
    return PlainTextResponse(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@_health.get("/version")
async def version(ctx: Ctx) -> dict[str, str]:
    return {"service": ctx.service.name, "version": health.version()}


def _answer(body: dict[str, Any]) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if body["status"] == 401 else None
    return JSONResponse(
        {"type": "about:blank", **body}, body["status"], media_type="application/problem+json", headers=headers
    )


async def _on_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return _answer(error.body)


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    said = [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']} (got {str(problem.get('input'))[:120]!r})"
        for problem in error.errors()[:5]
    ]
    return _answer(
        {"title": "The request is not valid", "status": 422, "code": "INVALID_COMMAND", "detail": "; ".join(said)}
    )


async def _on_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "HTTP_ERROR")
    return _answer({"title": str(error.detail), "status": error.status_code, "code": code, "detail": str(error.detail)})


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    context = context_of(request)
    if is_transient(error):
        body = {"title": "The store is away", "status": 503, "code": "STORE_UNAVAILABLE", "detail": "try again shortly"}
        return _answer(body)
    context.log.error("request failed", path=request.url.path, exc_info=error)
    return _answer({"title": "A fault of ours", "status": 500, "code": "INTERNAL", "detail": "it is in our log"})
