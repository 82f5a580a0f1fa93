"""What a service's `api.py` uses: the caller that a bearer token proves, and problems as RFC 9457."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared import auth
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


Ctx = Annotated[Context[Any], Depends(context_of)]
_bearer = HTTPBearer(auto_error=False, description="A JWT with tenant, sub and scope")


def requires(scope: str) -> Callable[..., Awaitable[auth.Caller]]:
    """A dependency that answers with the caller, or 401 or 403."""

    async def caller(
        ctx: Ctx, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> auth.Caller:
        if credentials is None:
            raise Problem(401, "UNAUTHENTICATED", "No bearer token", "send `Authorization: Bearer <token>`")
        try:
            found = auth.verify(ctx.settings.auth, credentials.credentials)
        except auth.Unauthenticated as error:
            raise Problem(401, "UNAUTHENTICATED", "The token does not hold", str(error)) from None
        if scope not in found.scopes:
            have = ", ".join(sorted(found.scopes)) or "none"
            raise Problem(403, "FORBIDDEN", "The token lacks a scope", f"needs {scope}; it has {have}")
        return found

    return caller
