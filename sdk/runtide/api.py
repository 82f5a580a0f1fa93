"""The services over HTTP: one door, bearer token, problems (RFC 9457) as exceptions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from runtide.errors import ApiError, CommandConflict, NotFound, ServiceUnavailable, Unauthorized
from runtide.settings import ClientSettings

TIMEOUT = httpx.Timeout(30.0, connect=5.0)


class Api:
    """`transport` is the seam for tests."""

    def __init__(self, settings: ClientSettings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._http = httpx.AsyncClient(timeout=TIMEOUT, transport=transport)

    async def close(self) -> None:
        await self._http.aclose()

    def has(self, service: str) -> bool:
        return self._settings.has(service)

    async def get(self, service: str, path: str, **params: Any) -> dict[str, Any]:
        return await self.call(service, "GET", path, params=params)

    async def find(self, service: str, path: str) -> dict[str, Any] | None:
        """None: there is no such thing."""
        try:
            return await self.get(service, path)
        except NotFound:
            return None

    async def call(
        self,
        service: str,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """The answer's JSON.

        Raises: ConfigurationError (no URL), ServiceUnavailable, ApiError and its kinds.
        """
        answer = await self._send(service, method, path, params=params, body=body, headers=headers)
        if answer.is_error:
            raise problem(service, answer)
        if answer.is_redirect:
            return {"location": answer.headers["location"]}
        return _json(answer)

    async def ready(self, service: str) -> tuple[int, dict[str, Any]]:
        """Status and body of `/readyz`, whatever they are."""
        answer = await self._send(service, "GET", "/readyz")
        return answer.status_code, _json(answer)

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes behind a presigned URL; without our token, which is nobody else's business."""
        try:
            async with self._http.stream("GET", url) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise ApiError(f"the object store answered {answer.status_code}", status=answer.status_code)
                yield answer.aiter_bytes()
        except httpx.TransportError as error:
            raise ServiceUnavailable(f"the object store does not answer: {_said(error)}") from error

    async def _send(
        self,
        service: str,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        url = self._settings.url_of(service) + path
        sent = dict(headers or {})
        if self._settings.token:
            sent["authorization"] = f"Bearer {self._settings.token}"
        asked = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            return await self._http.request(method, url, params=asked, json=body, headers=sent)
        except httpx.TransportError as error:
            raise ServiceUnavailable(f"{service} at {url} does not answer: {_said(error)}") from error


def problem(service: str, answer: httpx.Response) -> ApiError:
    body = _json(answer)
    code = body.get("code")
    text = str(body.get("detail") or body.get("title") or answer.reason_phrase)
    if answer.status_code in (401, 403):
        return Unauthorized(
            f"{service} refused the token ({text}); check RUNTIDE_TOKEN",
            status=answer.status_code,
            code=code,
            body=body,
        )
    kind = NotFound if answer.status_code == 404 else CommandConflict if code == "COMMAND_CONFLICT" else ApiError
    shown = f"{service}: {code}: {text}" if code else f"{service} answered {answer.status_code}: {text}"
    return kind(shown, status=answer.status_code, code=code, body=body)


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {"items": body}


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
