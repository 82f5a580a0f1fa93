"""The keys of this process: our HMAC keys, and the issuer's public keys (JWKS) as they were last read.

The facts not to break: an issuer that is away never takes a key back (what was read stays in use), and whoever sends
unknown kids makes us ask the issuer no oftener than once in a while.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import jwt

from shared import auth
from shared.auth import Caller, Unauthenticated
from shared.errors import KeysUnavailable
from shared.settings import AuthSettings

ASK_AT_MOST_EVERY_SECONDS = 10.0
TIMEOUT_SECONDS = 3.0
LARGEST_BYTES = 256 * 1024
SHORTEST_RSA_BITS = 2048
_FITS = {"RS256": ("RSA", None), "ES256": ("EC", "P-256"), "EdDSA": ("OKP", "Ed25519")}


class Keys:
    """What tokens are verified with."""

    def __init__(self, settings: AuthSettings, http: httpx.AsyncClient) -> None:
        self.settings = settings
        self.public = Jwks(settings.jwks_url, http, settings.jwks_refresh_seconds) if settings.jwks_url else None

    async def verify(self, token: str, *, at: datetime | None = None) -> Caller:
        """The caller that the token proves. Raises: Unauthenticated; KeysUnavailable as in `learn`."""
        await self.learn([token])
        return self.judge(token, at=at)

    async def learn(self, tokens: Iterable[str]) -> None:
        """Ask the issuer where these name a key that is not known, or where it was not asked for long.

        Raises: KeysUnavailable where it has never answered, so that nobody of its can be judged.
        """
        if self.public is not None:
            kids = {kid for token in tokens if (kid := _kid_of(token)) is not None}
            if kids:
                await self.public.learn(kids)

    def judge(self, token: str, *, at: datetime | None = None) -> Caller:
        """The same with the keys at hand. Raises: Unauthenticated."""
        return auth.verify(self.settings, token, public=self.public, at=at)


def _kid_of(token: str) -> str | None:
    """None: it is none of the issuer's."""
    try:
        header = auth.header_of(token)
    except Unauthenticated:
        return None
    return str(header.get("kid") or "") if header.get("alg") in auth.PUBLIC_KEY_ALGORITHMS else None


class Jwks:
    """One issuer's public keys by kid."""

    def __init__(
        self, url: str, http: httpx.AsyncClient, refresh_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url, self._http, self._refresh_seconds, self._clock = url, http, refresh_seconds, clock
        self._keys: Mapping[str, jwt.PyJWK] | None = None
        self._read_at = self._asked_at = -float("inf")
        self._asking = asyncio.Lock()
        self.problem: str | None = None

    def find(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """Raises: Unauthenticated where there is none, or it is for another algorithm."""
        key = (self._keys or {}).get(kid)
        if key is None:
            raise Unauthenticated(f"the issuer has no key with kid {kid[:80]!r}{self._as_it_stands()}")
        if key.algorithm_name != algorithm:
            raise Unauthenticated(f"key {kid[:80]!r} is for {key.algorithm_name}, the token says {algorithm}")
        return key

    async def learn(self, kids: Iterable[str]) -> None:
        """Raises: KeysUnavailable where nothing was ever read."""
        async with self._asking:
            if self._wants_to_ask(kids):
                await self._ask()
        if self._keys is None:
            raise KeysUnavailable(f"the keys at {self._url} were never read: {self.problem}")

    def _wants_to_ask(self, kids: Iterable[str]) -> bool:
        now = self._clock()
        known = self._keys is not None and all(kid in self._keys for kid in kids)
        if known and now - self._read_at < self._refresh_seconds:
            return False
        return now - self._asked_at >= ASK_AT_MOST_EVERY_SECONDS

    async def _ask(self) -> None:
        self._asked_at = self._clock()
        try:
            self._keys = _keys_in(await self._read())
        except (httpx.HTTPError, OSError, ValueError) as error:
            self.problem = f"{type(error).__name__}: {error}"
        else:
            self._read_at, self.problem = self._asked_at, None

    async def _read(self) -> bytes:
        parts = urlsplit(self._url)
        if parts.scheme == "file":
            return await asyncio.to_thread(Path(unquote(parts.path)).read_bytes)
        answer = await self._http.get(self._url, timeout=TIMEOUT_SECONDS, headers={"accept": "application/json"})
        answer.raise_for_status()
        return answer.content

    def _as_it_stands(self) -> str:
        return f"; it could not be asked just now ({self.problem})" if self.problem else ""


def _keys_in(content: bytes) -> dict[str, jwt.PyJWK]:
    """kid → key, of those that can be used here. Raises: ValueError for what is no JWKS."""
    if len(content) > LARGEST_BYTES:
        raise ValueError(f"{len(content)} bytes; at most {LARGEST_BYTES} are read")
    said = json.loads(content)
    keys = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(keys, list):
        raise ValueError("no JWKS: an object with `keys` was expected")
    return {key["kid"]: usable for key in keys if isinstance(key, dict) and (usable := _usable(key)) is not None}


def _usable(key: Mapping[str, Any]) -> jwt.PyJWK | None:
    """None: without kid, for encryption, of a kind that we do not take (a symmetric one, above all), or too short."""
    if not isinstance(key.get("kid"), str) or key.get("use", "sig") != "sig":
        return None
    kind = (key.get("kty"), key.get("crv") if key.get("kty") != "RSA" else None)
    algorithm = next((name for name, wanted in _FITS.items() if wanted == kind), None)
    if algorithm is None or key.get("alg", algorithm) != algorithm:
        return None
    try:
        usable = jwt.PyJWK(dict(key), algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    short = algorithm == "RS256" and usable.key.key_size < SHORTEST_RSA_BITS
    return None if short else usable
