"""Tokens for Centrifugo, minted after the tenancy check. Never one without an end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import jwt

AUDIENCE, ISSUER = "runtide-realtime", "runtide-notifier"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ENTITY = re.compile(rf"(?:(run):({_UUID}):progress|(instance):({_UUID}):(?:status|runs))")
_TENANT = re.compile(r"(?:tenant:([a-z0-9-]+):feed|lineage:([a-z0-9-]+))")


@dataclass(frozen=True, slots=True)
class OfTenant:
    """A channel of a whole tenant."""

    tenant: str


@dataclass(frozen=True, slots=True)
class OfEntity:
    """A channel of one run or instance; whose that is, the table of owners knows."""

    kind: Literal["run", "instance"]
    entity_id: UUID


def channel_of(channel: str) -> OfTenant | OfEntity | None:
    """Whose a channel is; None: it is none of ours."""
    if found := _TENANT.fullmatch(channel):
        return OfTenant(found.group(1) or found.group(2))
    if found := _ENTITY.fullmatch(channel):
        return OfEntity("run" if found.group(1) else "instance", UUID(found.group(2) or found.group(4)))
    return None


def connection_token(key: str, *, user: str, now: datetime, seconds: int) -> str:
    return _token(key, user, now, seconds, {})


def subscription_token(key: str, *, user: str, channel: str, now: datetime, seconds: int) -> str:
    return _token(key, user, now, seconds, {"channel": channel})


def _token(key: str, user: str, now: datetime, seconds: int, more: dict[str, str]) -> str:
    claims = {"sub": user, "aud": AUDIENCE, "iss": ISSUER, "exp": now + timedelta(seconds=seconds), **more}
    return jwt.encode(claims, key, algorithm="HS256")
