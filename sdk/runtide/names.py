"""Near names for typos."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near(text: str, known: Iterable[str]) -> list[str]:
    """At most three that look like it, the nearest first."""
    by_folded = {name.casefold(): name for name in known}
    return [by_folded[match] for match in get_close_matches(text.casefold(), by_folded, n=3, cutoff=0.6)]


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """`; did you mean 'prices'?`, or nothing."""
    found = near(text, known)
    return f"; did you mean {' or '.join(repr(name) for name in found)}?" if found else ""
