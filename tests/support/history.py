"""What a client knows about what it sent: acknowledged, failed, or unknown. Unknown stays unknown."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"  # it certainly had no effect
    UNKNOWN = "unknown"  # it may have had one, and may have one yet


@dataclass(slots=True)
class Sent:
    """One thing that was sent, with what is needed to find its effect. `at`: its position in Kafka, once known."""

    kind: str
    run_id: str | None = None
    at: str | None = None
    digest: bytes | None = None  # of the bytes of what nobody can read
    outcome: Outcome = Outcome.UNKNOWN


@dataclass(slots=True)
class History:
    """Everything that the load sent, in the order of sending."""

    sent: list[Sent] = field(default_factory=list)

    def note(self, kind: str, *, run_id: str | None = None, digest: bytes | None = None) -> Sent:
        """Before it is sent: whoever dies in between leaves it unknown."""
        self.sent.append(Sent(kind, run_id=run_id, digest=digest))
        return self.sent[-1]

    async def follow(self, one: Sent, sending: Awaitable[str | None], *, failures: tuple[type[BaseException], ...],
                     surely_not: tuple[type[BaseException], ...] = ()) -> None:  # fmt: skip
        """Wait for the acknowledgement, which may say the position. What fails by `surely_not` arrived nowhere."""
        try:
            one.at = await sending
        except surely_not:
            one.outcome = Outcome.FAILED
        except failures:
            one.outcome = Outcome.UNKNOWN
        else:
            one.outcome = Outcome.ACKNOWLEDGED

    def of(self, *kinds: str, outcome: Outcome | None = None) -> Iterator[Sent]:
        return (one for one in self.sent if one.kind in kinds and outcome in (None, one.outcome))

    def counts(self) -> dict[str, Counter[str]]:
        """kind → outcome → how many."""
        found: dict[str, Counter[str]] = {}
        for one in self.sent:
            found.setdefault(one.kind, Counter())[one.outcome] += 1
        return found


def digest_of(value: bytes | None, key: bytes | None, headers: Any) -> bytes:
    """The same for the same bytes, of value, key and headers, and for nothing else."""
    shown = repr((value, key, [(name, held) for name, held in headers])).encode()
    return hashlib.sha256(shown).digest()
