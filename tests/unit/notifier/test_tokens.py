"""Whose a channel is, and what a token says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import pytest

from services.notifier.tokens import (
    AUDIENCE,
    ISSUER,
    OfEntity,
    OfTenant,
    channel_of,
    connection_token,
    subscription_token,
)

KEY = "k" * 32
ID = "0b9f3f52-7b1c-5d2a-9c4e-0a1b2c3d4e5f"
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.mark.parametrize(
    ("channel", "whose"),
    [
        ("tenant:acme:feed", OfTenant("acme")),
        ("lineage:acme-2", OfTenant("acme-2")),
        (f"run:{ID}:progress", OfEntity("run", UUID(ID))),
        (f"instance:{ID}:status", OfEntity("instance", UUID(ID))),
        (f"instance:{ID}:runs", OfEntity("instance", UUID(ID))),
    ],
)
def test_our_channels_say_whose_they_are(channel: str, whose: object) -> None:
    assert channel_of(channel) == whose


@pytest.mark.parametrize(
    "channel",
    [
        "", "tenant:acme", "tenant::feed", "tenant:acme:feed:x", "tenant:Acme:feed", "tenant:*:feed", "lineage:",
        "tenant:acme:feed\n", "lineage:acme\n", f"run:{ID}:progress\n", f"run:{ID}:status", f"run:{ID}",
        f"run:{ID.upper()}:progress", f"run:{'-' * 36}:progress", f"run:{ID[:-1]}:progress",
        f"run:{ID[:2]}-{ID[2:8]}{ID[9:]}:progress", f"instance:{ID}:progress", f"$run:{ID}:progress", "personal:#user",
    ],
)  # fmt: skip
def test_everything_else_is_nobodys(channel: str) -> None:
    assert channel_of(channel) is None


def test_a_connection_token_always_ends() -> None:
    token = connection_token(KEY, user="acme/ana", now=NOW, seconds=900)
    claims = jwt.decode(token, KEY, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
    assert claims["sub"] == "acme/ana"
    assert datetime.fromtimestamp(claims["exp"], UTC) == NOW + timedelta(seconds=900)
    assert "channel" not in claims


def test_a_subscription_token_is_for_one_channel_and_one_user() -> None:
    token = subscription_token(KEY, user="acme/ana", channel="lineage:acme", now=NOW, seconds=300)
    claims = jwt.decode(token, KEY, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
    assert (claims["sub"], claims["channel"]) == ("acme/ana", "lineage:acme")
    assert datetime.fromtimestamp(claims["exp"], UTC) == NOW + timedelta(seconds=300)
