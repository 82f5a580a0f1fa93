"""Bearer tokens: HS256, two keys valid at a time for rotation. Tenant and actor come from here, never from a body."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from shared.clock import utc_now
from shared.settings import AuthSettings

SCOPES = ("requests:write", "runs:read", "instances:read", "instances:write", "ops", "runs:report")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: proven by a signature."""

    tenant: str
    actor: str
    scopes: frozenset[str]


class Unauthenticated(Exception):
    """The token is absent or does not hold; the text says why."""


def mint(
    settings: AuthSettings, *, tenant: str, actor: str, scopes: tuple[str, ...] = SCOPES, valid: timedelta,
    now: datetime | None = None,
) -> str:  # fmt: skip
    """A token of `actor` in `tenant`, signed with the first key."""
    issued = now or utc_now()
    claims = {
        "iss": settings.issuer, "aud": settings.audience, "sub": actor, "tenant": tenant, "scope": " ".join(scopes),
        "iat": issued, "exp": issued + valid,
    }  # fmt: skip
    return jwt.encode(claims, settings.signing_keys()[0], algorithm="HS256")


def verify(settings: AuthSettings, token: str) -> Caller:
    """The caller that the token proves.

    Raises:
        Unauthenticated: no key verifies it, it is expired, or a claim is missing.
    """
    problem = "no key verifies its signature"
    for key in settings.signing_keys():
        try:
            claims = jwt.decode(
                token, key, algorithms=["HS256"], audience=settings.audience, issuer=settings.issuer, leeway=5,
                options={"require": ["exp", "sub", "tenant"]},
            )  # fmt: skip
        except jwt.InvalidSignatureError:
            continue
        except jwt.PyJWTError as error:
            problem = str(error)
            continue
        return Caller(str(claims["tenant"]), str(claims["sub"]), frozenset(str(claims.get("scope", "")).split()))
    raise Unauthenticated(problem)
