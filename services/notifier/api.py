"""`/v1/realtime`: tokens for Centrifugo · `/v1/activities`: what happened · `/`: the dashboard's files."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.staticfiles import StaticFiles

from services.notifier.settings import NotifierSettings
from services.notifier.store import Kind, NotifierStore
from services.notifier.tokens import OfEntity, OfTenant, channel_of, connection_token, subscription_token
from shared.auth import Caller
from shared.http import Ctx, Problem, cursor_after, not_found, read_cursor, requires
from shared.service import Context

router = APIRouter(tags=["realtime"])
Reader = Annotated[Caller, Depends(requires("runs:read"))]
MOST_CHANNELS = 1000


class SubscribeBody(BaseModel):
    """One channel, or a list of them."""

    model_config = ConfigDict(extra="forbid")

    channel: str | None = None
    channels: list[str] = Field(default_factory=list, max_length=MOST_CHANNELS)


@router.post("/v1/realtime/connect")
async def connect(ctx: Ctx, caller: Reader) -> dict[str, str]:
    """Where to connect, and a token that holds for some minutes."""
    settings = _settings(ctx)
    token = connection_token(
        settings.centrifugo.token_hmac_key.get_secret_value(), user=_user(caller), now=ctx.clock(),
        seconds=settings.connection_token_seconds,
    )  # fmt: skip
    return {"url": settings.centrifugo.ws_url, "token": token, "tenant": caller.tenant}


@router.post("/v1/realtime/subscribe")
async def subscribe(ctx: Ctx, caller: Reader, body: SubscribeBody) -> dict[str, Any]:
    """A token for each channel that is the caller's; 404 for one that is not, as if it did not exist."""
    channels = body.channels or ([body.channel] if body.channel else [])
    if not channels:
        raise Problem(422, "INVALID_COMMAND", "No channel", "send {channel} or {channels}")
    await _refuse_foreign(ctx, caller.tenant, channels)
    settings = _settings(ctx)
    key = settings.centrifugo.token_hmac_key.get_secret_value()
    tokens = {
        channel: subscription_token(
            key, user=_user(caller), channel=channel, now=ctx.clock(), seconds=settings.subscription_token_seconds
        )
        for channel in channels
    }
    return {"tokens": tokens} if body.channels else {"token": tokens[channels[0]]}


@router.get("/v1/activities")
async def activities(
    ctx: Ctx, caller: Reader, resource_id: str | None = None, action: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50, cursor: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What happened, the newest first."""
    async with ctx.reading() as store:
        rows = await store.page(
            caller.tenant, resource_id=resource_id, action=action, limit=limit, after=read_cursor(cursor)
        )
    following = cursor_after(rows[-1]["occurred_at"], rows[-1]["activity_id"]) if len(rows) == limit else None
    return {"activities": rows, "cursor": following, "as_of": ctx.clock()}


@router.get("/config.json", include_in_schema=False)
async def config(ctx: Ctx) -> dict[str, Any]:
    """Where the page finds the services; null means: at this address."""
    settings = _settings(ctx)
    urls = settings.urls
    return {
        "submission": urls.submission_url,
        "run_tracker": urls.run_tracker_url,
        "lineage": urls.lineage_url,
        "notifier": urls.notifier_url,
        "prefect_ui": settings.prefect_ui.address(),
    }


def mount_dashboard(app: FastAPI) -> None:
    """The built pages at `/`, or a page that says how to build them."""
    directory = _settings(app.state.context).dashboard_dir
    if (directory / "index.html").is_file():
        app.mount("/", StaticFiles(directory=directory, html=True), name="dashboard")
        return

    @app.get("/", include_in_schema=False)
    async def unbuilt() -> PlainTextResponse:
        return PlainTextResponse(f"The dashboard is not built: {directory} has no index.html. Run: make up", 503)


async def _refuse_foreign(ctx: Context[NotifierStore], tenant: str, channels: list[str]) -> None:
    asked: dict[Kind, dict[UUID, str]] = {"run": {}, "instance": {}}
    for channel in channels:
        match channel_of(channel):
            case OfTenant(owner) if owner == tenant:
                continue
            case OfEntity(kind, entity_id):
                asked[kind][entity_id] = channel
            case _:
                raise not_found("channel", channel)
    async with ctx.reading() as store:
        for kind, entities in asked.items():
            mine = await store.owned_by(tenant, kind, entities.keys())
            for entity_id, channel in entities.items():
                if entity_id not in mine:
                    raise not_found("channel", channel)


def _settings(ctx: Context[NotifierStore]) -> NotifierSettings:
    assert isinstance(ctx.settings, NotifierSettings)
    return ctx.settings


def _user(caller: Caller) -> str:
    return f"{caller.tenant}/{caller.actor}"
