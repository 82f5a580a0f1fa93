"""Tokens: who may be believed, and why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from shared.auth import SCOPES, Caller, Unauthenticated, mint, verify
from shared.settings import AuthSettings

OLD, NEW = "old-" + "0" * 32, "new-" + "1" * 32
HOUR = timedelta(hours=1)


def settings(*keys: str, **changes: Any) -> AuthSettings:
    return AuthSettings(hmac_keys=SecretStr(",".join(keys)), **changes)


def forged(key: str = NEW, algorithm: str = "HS256", **changes: Any) -> str:
    now = datetime.now(UTC)
    claims = {"iss": "runtide", "aud": "runtide", "sub": "ana@acme", "tenant": "acme", "scope": "ops",
              "iat": now, "exp": now + HOUR, **changes}  # fmt: skip
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, algorithm=algorithm)


def why_not(token: str, *keys: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        verify(settings(*(keys or (NEW,))), token)
    return str(caught.value)


def test_a_minted_token_proves_its_caller() -> None:
    token = mint(settings(NEW), tenant="acme", actor="ana@acme", scopes=("ops", "runs:read"), valid=HOUR)
    assert verify(settings(NEW), token) == Caller("acme", "ana@acme", frozenset({"ops", "runs:read"}))


def test_a_token_has_every_scope_unless_told_otherwise() -> None:
    token = mint(settings(NEW), tenant="acme", actor="ana@acme", valid=HOUR)
    assert verify(settings(NEW), token).scopes == frozenset(SCOPES)


def test_a_wrong_key_proves_nothing() -> None:
    assert "signature" in why_not(forged("x" * 32))


def test_while_keys_rotate_both_verify_and_the_first_signs() -> None:
    before = mint(settings(OLD), tenant="acme", actor="ana@acme", valid=HOUR)
    rotating = settings(NEW, OLD)
    after = mint(rotating, tenant="acme", actor="ana@acme", valid=HOUR)
    assert verify(rotating, before).tenant == verify(rotating, after).tenant == "acme"
    assert verify(settings(NEW), after).tenant == "acme"
    assert "signature" in why_not(before, NEW)  # the old key is gone: so is its token


def test_an_expired_token_proves_nothing_also_under_the_second_key() -> None:
    long_ago = datetime.now(UTC) - 2 * HOUR
    expired = mint(settings(OLD), tenant="acme", actor="ana@acme", valid=HOUR, now=long_ago)
    assert "expired" in why_not(expired, OLD)
    assert "expired" in why_not(expired, NEW, OLD)


@pytest.mark.parametrize("claim", ["exp", "sub", "tenant", "aud", "iss"])
def test_a_token_without_a_needed_claim_proves_nothing(claim: str) -> None:
    assert claim in why_not(forged(**{claim: None}))


@pytest.mark.parametrize("changes", [{"aud": "runtide-realtime"}, {"iss": "somebody"}, {"nbf": 2**33}])
def test_a_token_for_somebody_else_proves_nothing(changes: dict[str, Any]) -> None:
    why_not(forged(**changes))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_only_our_algorithm_is_believed() -> None:
    why_not(forged(NEW, "HS512"))
    unsigned = jwt.encode(
        {"sub": "ana", "tenant": "acme", "exp": 2**33, "aud": "runtide", "iss": "runtide"}, "", "none"
    )
    why_not(unsigned)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "Bearer x", "é.é.é"])
def test_what_is_no_token_proves_nothing(text: str) -> None:
    why_not(text)


def test_a_token_without_scope_may_do_nothing() -> None:
    assert verify(settings(NEW), forged(scope=None)).scopes == frozenset()


def test_a_named_key_stands_for_its_kid_alone_and_both_verify_while_listed() -> None:
    old, both, new = settings(f"a:{OLD}"), settings(f"b:{NEW}", f"a:{OLD}"), settings(f"b:{NEW}")
    before = mint(old, tenant="acme", actor="ana@acme", valid=HOUR)
    after = mint(both, tenant="acme", actor="ana@acme", valid=HOUR)
    assert [jwt.get_unverified_header(token)["kid"] for token in (before, after)] == ["a", "b"]
    assert verify(both, before) == verify(both, after)
    assert verify(new, after).tenant == "acme"
    assert "signature" in why_not(before, f"b:{NEW}")
    assert "signature" in why_not(before, f"a:{NEW}")  # the name alone proves nothing


def test_giving_a_key_a_name_keeps_the_tokens_that_it_signed_without_one() -> None:
    before = mint(settings(OLD), tenant="acme", actor="ana@acme", valid=HOUR)
    assert verify(settings(f"b:{NEW}", f"a:{OLD}"), before).tenant == "acme"


def test_a_token_is_judged_at_the_time_that_is_asked_about() -> None:
    then = datetime(2025, 1, 15, 9, tzinfo=UTC)
    token = mint(settings(NEW), tenant="acme", actor="ana@acme", valid=HOUR, now=then)
    assert verify(settings(NEW), token, at=then + timedelta(minutes=59)).tenant == "acme"
    for moment in (then - timedelta(minutes=1), then + timedelta(minutes=61)):
        with pytest.raises(Unauthenticated):
            verify(settings(NEW), token, at=moment)


@pytest.mark.parametrize("keys", ["short", "a:short", f"a:{OLD},a:{NEW}"])
def test_keys_that_are_short_or_share_a_name_are_refused_at_the_start(keys: str) -> None:
    with pytest.raises(ValueError, match="HMAC keys"):
        settings(keys)


def test_somebody_must_sign() -> None:
    with pytest.raises(ValueError, match="RUNTIDE_AUTH_JWKS_URL"):
        AuthSettings()
