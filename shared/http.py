"""What a service's `api.py` uses: the caller that a bearer token proves, problems as RFC 9457, cursors of pages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared import auth
from shared.errors import KeysUnavailable
from shared.service import Context


class Problem(Exception):
    """An answer that is not what was asked for. `code` is stable; `detail` says what was got and what to do."""

    def __init__(self, status: int, code: str, title: str, detail: str = "", **extra: Any) -> None:
        super().__init__(f"{status} {code}: {detail or title}")
        self.status, self.body = status, {"title": title, "status": status, "code": code, "detail": detail, **extra}


def not_found(what: str, named: object) -> Problem:
    """The same answer for what does not exist and for what belongs to somebody else."""
    return Problem(404, "NOT_FOUND", f"No such {what}", f"{what} {named} does not exist")


def context_of(request: Request) -> Context[Any]:
    context: Context[Any] = request.app.state.context
    return context


async def _context(request: Request) -> Context[Any]:
    """Not waiting for a thread, as FastAPI lets a plain function do on every request."""
    return context_of(request)


Ctx = Annotated[Context[Any], Depends(_context)]
_bearer = HTTPBearer(auto_error=False, description="A JWT with tenant, sub and scope")


def requires(scope: str, *, by_runs: bool = False) -> Callable[..., Awaitable[auth.Caller]]:
    """A dependency that answers with the caller, or 401 or 403. `by_runs`: a run's own token is taken too; the path
    then looks at `caller.run_id` itself.
    """

    async def caller(
        ctx: Ctx, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> auth.Caller:
        if credentials is None:
            raise Problem(401, "UNAUTHENTICATED", "No bearer token", "send `Authorization: Bearer <token>`")
        try:
            found = await ctx.keys.verify(credentials.credentials)
        except auth.Unauthenticated as error:
            raise Problem(401, "UNAUTHENTICATED", "The token does not hold", str(error)) from None
        except KeysUnavailable as error:
            raise Problem(503, "KEYS_UNAVAILABLE", "The issuer of tokens is away", str(error)) from None
        if scope not in found.scopes:
            have = ", ".join(sorted(found.scopes)) or "none"
            raise Problem(403, "FORBIDDEN", "The token lacks a scope", f"needs {scope}; it has {have}")
        if found.run_id is not None and not by_runs:
            detail = f"the token speaks for run {found.run_id} alone: its reports, its uploads, its inputs"
            raise Problem(403, "FORBIDDEN", "The token is a run's own", detail)
        return found

    return caller


def cursor_after(at: datetime, row_id: UUID) -> str:
    """Where the next page of a list goes on that is sorted by time, then id."""
    return base64.urlsafe_b64encode(f"{at.isoformat()}|{row_id}".encode()).decode()


def read_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    """What `cursor_after` was given; None for the first page. Raises: Problem 422 for what is none of ours."""
    if cursor is None:
        return None
    try:
        at, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().split("|")
        return datetime.fromisoformat(at).astimezone(UTC), UUID(row_id)
    except (ValueError, OverflowError, binascii.Error):
        detail = f"got {cursor[:80]!r}; give back `cursor` as it came"
        raise Problem(422, "INVALID_CURSOR", "The cursor is not one of ours", detail) from None
