"""Bearer tokens: who signs them, what they prove. Tenant and actor come from here, never from a body.

The fact not to break: the token's algorithm chooses the kind of key before any key is looked at. HS256 meets our HMAC
keys alone, and RS256, ES256 and EdDSA the issuer's public keys alone; there is no third way in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import jwt
from runtide_schemas.vocabulary import is_tenant, is_uuid

from shared.clock import utc_now
from shared.settings import AuthSettings

SCOPES = ("requests:write", "runs:read", "instances:read", "instances:write", "ops", "runs:report")
RUN_SCOPES = ("runs:report", "runs:read")
PUBLIC_KEY_ALGORITHMS = ("RS256", "ES256", "EdDSA")
_SYSTEM = "system:"
_UNTIMED = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "sub", "tenant"]}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: proven by a signature. With `run_id`, a run that speaks for itself and nothing else."""

    tenant: str
    actor: str
    scopes: frozenset[str]
    run_id: UUID | None = None


class Unauthenticated(Exception):
    """The token is absent or does not hold; the text says why."""


class PublicKeys(Protocol):
    """The issuer's keys that are known now."""

    def find(self, kid: str, algorithm: str) -> Any:
        """The key for this algorithm. Raises: Unauthenticated."""
        ...


def mint(
    settings: AuthSettings, *, tenant: str, actor: str, scopes: tuple[str, ...] = SCOPES, valid: timedelta,
    now: datetime | None = None, run_id: UUID | None = None,
) -> str:  # fmt: skip
    """A token of `actor` in `tenant`, signed with the first HMAC key. `run_id`: it speaks for this run alone."""
    issued = now or utc_now()
    claims = {
        "iss": settings.issuer, "aud": settings.audience, "sub": actor, "tenant": tenant, "scope": " ".join(scopes),
        "iat": issued, "exp": issued + valid,
    }  # fmt: skip
    if run_id is not None:
        claims["run_id"] = str(run_id)
    key = settings.keys()[0]
    return jwt.encode(claims, key.secret, algorithm="HS256", headers={"kid": key.kid} if key.kid else None)


def verify(
    settings: AuthSettings, token: str, *, public: PublicKeys | None = None, at: datetime | None = None
) -> Caller:
    """The caller that the token proves, at that time (now, if none is given).

    Raises:
        Unauthenticated: no key verifies it, it is expired, or a claim is missing.
    """
    header = header_of(token)
    match header.get("alg"):
        case "HS256":
            claims = _signed_by_us(settings, token, header.get("kid"))
        case algorithm if algorithm in PUBLIC_KEY_ALGORITHMS and public is not None:
            key = public.find(str(header.get("kid") or ""), algorithm)
            claims = _decoded(token, key, algorithm, settings.audience, settings.jwks_issuer or settings.issuer)
            if str(claims["sub"]).startswith(_SYSTEM):
                raise Unauthenticated(f"sub is {claims['sub']!r}; {_SYSTEM}… is ours alone")
        case other:
            allowed = ("HS256", *(PUBLIC_KEY_ALGORITHMS if public is not None else ()))
            raise Unauthenticated(f"its algorithm is {str(other)[:20]!r}; accepted are {', '.join(allowed)}")
    _in_its_time(claims, at or utc_now(), timedelta(seconds=settings.leeway_seconds))
    return _caller(claims)


def header_of(token: str) -> Mapping[str, Any]:
    """What the token says of its own signature; nothing of it is proven. Raises: Unauthenticated."""
    try:
        return jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise Unauthenticated(str(error)) from None


def _signed_by_us(settings: AuthSettings, token: str, kid: Any) -> dict[str, Any]:
    """A key that is named stands for its kid alone; keys without a name are tried for every token."""
    keys = settings.keys()
    named = [key for key in keys if key.kid is not None and key.kid == kid]
    problem = "no key verifies its signature"
    for key in named or [key for key in keys if key.kid is None or kid is None]:
        try:
            return _decoded(token, key.secret, "HS256", settings.audience, settings.issuer)
        except _WrongKey:
            continue
    raise Unauthenticated(problem)


class _WrongKey(Unauthenticated):
    """Another key may be the one."""


def _decoded(token: str, key: Any, algorithm: str, audience: str, issuer: str) -> dict[str, Any]:
    try:
        return jwt.decode(token, key, algorithms=[algorithm], audience=audience, issuer=issuer, options=_UNTIMED)  # type: ignore[arg-type]
    except jwt.InvalidSignatureError:
        raise _WrongKey("no key verifies its signature") from None
    except jwt.PyJWTError as error:
        raise Unauthenticated(str(error)) from None


def _in_its_time(claims: Mapping[str, Any], at: datetime, leeway: timedelta) -> None:
    times = {name: _time(name, claims[name]) for name in ("exp", "nbf", "iat") if name in claims}
    if times["exp"] <= at - leeway:
        raise Unauthenticated(f"it expired at {times['exp']:%Y-%m-%dT%H:%M:%SZ}")
    for name in ("nbf", "iat"):
        if name in times and times[name] > at + leeway:
            raise Unauthenticated(f"it is not valid before {times[name]:%Y-%m-%dT%H:%M:%SZ} ({name})")


def _time(name: str, value: Any) -> datetime:
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise Unauthenticated(f"{name} is {str(value)[:40]!r}; allowed are seconds since 1970") from None


def _caller(claims: Mapping[str, Any]) -> Caller:
    tenant, actor, scope, run_id = claims["tenant"], claims["sub"], claims.get("scope") or "", claims.get("run_id")
    if not isinstance(tenant, str) or not is_tenant(tenant):
        raise Unauthenticated(f"tenant is {str(tenant)[:80]!r}, which is none")
    if not isinstance(actor, str) or not 0 < len(actor) <= 200 or "\0" in actor:
        raise Unauthenticated("sub has 1 to 200 characters")
    if run_id is not None and not (isinstance(run_id, str) and is_uuid(run_id)):
        raise Unauthenticated(f"run_id is {str(run_id)[:80]!r}, allowed is a UUID")
    scopes = scope.split() if isinstance(scope, str) else [str(one) for one in scope] if isinstance(scope, list) else []
    return Caller(tenant, actor, frozenset(scopes), UUID(run_id) if run_id else None)
