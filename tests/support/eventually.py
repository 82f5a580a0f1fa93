"""Wait for conditions, never for time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    probe: Callable[[], T | Awaitable[T]], *, within_seconds: float = 30.0, every_seconds: float = 0.05, what: str = ""
) -> T:
    """Ask until the answer is true (an AssertionError counts as no); then give it.

    Raises:
        AssertionError: it was not within the time; says what was seen last.
    """
    deadline = time.monotonic() + within_seconds
    seen: object = None
    while True:
        try:
            answer = probe()
            found = await answer if inspect.isawaitable(answer) else answer
            if found:
                return found  # type: ignore[return-value]
            seen = found
        except AssertionError as error:
            seen = error
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within_seconds:g} s: {what or 'the condition'}; last: {seen!r}")
        await asyncio.sleep(every_seconds)
