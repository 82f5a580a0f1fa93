"""An issuer's public keys: which tokens they prove, when the issuer is asked, and what holds while it is away."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from shared.auth import Unauthenticated, mint
from shared.errors import KeysUnavailable
from shared.keys import ASK_AT_MOST_EVERY_SECONDS, Jwks, Keys
from shared.settings import AuthSettings

OURS = "our-own-" + "0" * 32
URL = "https://issuer.example/jwks.json"
RSA, EC = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
PRIVATE: Mapping[str, Any] = {"RS256": RSA, "ES256": EC, "EdDSA": ed25519.Ed25519PrivateKey.generate()}


def public(algorithm: str, kid: str = "one", **changes: Any) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(PRIVATE[algorithm].public_key(), as_dict=True)  # type: ignore[call-overload]
    said = {**made, "kid": kid, "use": "sig", **changes}
    said.pop("key_ops", None)
    return said


def token(algorithm: str = "RS256", kid: str | None = "one", key: Any = None, **changes: Any) -> str:
    now = datetime.now(UTC)
    claims = {"iss": "https://issuer.example", "aud": "runtide", "sub": "ana@acme", "tenant": "acme",
              "scope": "runs:read ops", "iat": now, "exp": now + timedelta(hours=1), **changes}  # fmt: skip
    return jwt.encode(claims, key or PRIVATE[algorithm], algorithm=algorithm, headers={"kid": kid} if kid else None)


class Issuer:
    """Answers with its keys, or not at all; counts how often it was asked."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys, self.away, self.asked, self.now = list(keys), False, 0, 0.0

    def answer(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(503) if self.away else httpx.Response(200, json={"keys": self.keys})

    def read_by(self, **changes: Any) -> Keys:
        settings = AuthSettings(
            hmac_keys=SecretStr(OURS), jwks_url=URL, jwks_issuer="https://issuer.example", **changes
        )
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        keys = Keys(settings, http)
        keys.public = Jwks(URL, http, settings.jwks_refresh_seconds, clock=lambda: self.now)
        return keys

    def later(self, seconds: float = ASK_AT_MOST_EVERY_SECONDS) -> None:
        self.now += seconds


async def why_not(keys: Keys, said: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await keys.verify(said)
    return str(caught.value)


@pytest.mark.parametrize("algorithm", PRIVATE)
async def test_a_public_key_of_each_kind_proves_its_caller(algorithm: str) -> None:
    keys = Issuer(public(algorithm)).read_by()
    caller = await keys.verify(token(algorithm))
    assert (caller.tenant, caller.actor, caller.scopes) == ("acme", "ana@acme", {"runs:read", "ops"})


async def test_our_own_keys_go_on_beside_the_issuers() -> None:
    issuer = Issuer(public("RS256"))
    keys = issuer.read_by()
    ours = mint(keys.settings, tenant="acme", actor="dev@acme", valid=timedelta(minutes=1))
    assert (await keys.verify(ours)).actor == "dev@acme"
    assert issuer.asked == 0


def _in_pem() -> bytes:
    return RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _by_hand(header: Mapping[str, Any], key: bytes) -> str:
    """HS256 by hand: the library refuses to sign with a public key."""

    def part(value: Mapping[str, Any]) -> str:
        return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = jwt.decode(token(), options={"verify_signature": False})
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{urlsafe_b64encode(hmac.digest(key, signed.encode(), hashlib.sha256)).rstrip(b'=').decode()}"


@pytest.mark.parametrize("key", [_in_pem(), _in_pem().strip(), json.dumps(public("RS256")).encode(), b""])
async def test_what_is_signed_with_a_public_key_as_if_it_were_a_secret_proves_nothing(key: bytes) -> None:
    keys = Issuer(public("RS256")).read_by()
    assert "signature" in await why_not(keys, _by_hand({"alg": "HS256", "kid": "one"}, key))
    assert (await keys.verify(token())).tenant == "acme"  # the control: the right key is there


@pytest.mark.parametrize("algorithm", ["none", "None", "HS384", "HS512", "RS384", "PS256", "ES512", ""])
async def test_no_other_algorithm_is_believed(algorithm: str) -> None:
    keys = Issuer(public("RS256")).read_by()
    assert "algorithm" in await why_not(keys, _by_hand({"alg": algorithm, "kid": "one"}, OURS.encode()))


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (public("RS256", alg="PS256"), token()),
        (public("RS256", use="enc"), token()),
        (public("ES256"), token("RS256")),
        ({"kty": "oct", "kid": "one", "k": "b3Vycw", "alg": "HS256"}, token()),
    ],
)
async def test_a_key_of_another_kind_or_use_proves_nothing(kept: dict[str, Any], said: str) -> None:
    assert "key" in await why_not(Issuer(kept).read_by(), said)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "runtide"}, "issuer"),
        ({"aud": "somebody"}, "udience"),
        ({"tenant": "No Tenant"}, "tenant"),
        ({"sub": "system:lineage"}, "system:"),
        ({"exp": 1}, "expired"),
        ({"exp": "soon"}, "xp"),
        ({"nbf": 2**33}, "nbf"),
    ],
)
async def test_an_issuers_token_must_be_for_us_and_no_name_of_ours(changes: dict[str, Any], why: str) -> None:
    assert why in await why_not(Issuer(public("RS256")).read_by(), token(**changes))


async def test_an_issuers_token_is_none_of_ours_and_ours_none_of_the_issuers() -> None:
    keys = Issuer(public("RS256")).read_by()
    foreign = AuthSettings(hmac_keys=SecretStr(OURS), issuer="https://issuer.example")
    assert "issuer" in await why_not(keys, mint(foreign, tenant="acme", actor="a", valid=timedelta(minutes=1)))


async def test_clocks_may_differ_by_the_leeway() -> None:
    late = token(exp=datetime.now(UTC) - timedelta(seconds=60))
    assert (await Issuer(public("RS256")).read_by(leeway_seconds=120).verify(late)).tenant == "acme"
    assert "expired" in await why_not(Issuer(public("RS256")).read_by(leeway_seconds=30), late)


async def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    issuer = Issuer(public("RS256"))
    keys = issuer.read_by()
    await keys.verify(token())
    issuer.keys.append(public("ES256", "two"))
    issuer.later()
    assert (await keys.verify(token("ES256", "two"))).tenant == "acme"
    assert issuer.asked == 2


async def test_unknown_kids_make_us_ask_once_in_a_while_only() -> None:
    issuer = Issuer(public("RS256"))
    keys = issuer.read_by()
    for n in range(50):
        assert "no key with kid" in await why_not(keys, token(kid=f"made-up-{n}"))
    assert issuer.asked == 1
    issuer.later()
    await why_not(keys, token(kid="made-up"))
    assert issuer.asked == 2


async def test_a_key_that_the_issuer_takes_back_is_forgotten_after_a_while() -> None:
    issuer = Issuer(public("RS256"), public("ES256", "two"))
    keys = issuer.read_by(jwks_refresh_seconds=60)
    await keys.verify(token())
    issuer.keys = issuer.keys[1:]
    assert (await keys.verify(token())).tenant == "acme"
    issuer.later(60)
    assert "no key with kid" in await why_not(keys, token())
    assert (await keys.verify(token("ES256", "two"))).tenant == "acme"


async def test_what_was_read_stays_in_use_while_the_issuer_is_away() -> None:
    issuer = Issuer(public("RS256"))
    keys = issuer.read_by(jwks_refresh_seconds=60)
    await keys.verify(token())
    issuer.away = True
    for _ in range(3):
        issuer.later(3600)
        assert (await keys.verify(token())).tenant == "acme"
    assert "503" in await why_not(keys, token("ES256", "two"))
    issuer.away, issuer.keys = False, [public("ES256", "two")]
    issuer.later()
    assert (await keys.verify(token("ES256", "two"))).tenant == "acme"


async def test_before_the_issuer_has_answered_its_tokens_cannot_be_judged_and_ours_can() -> None:
    issuer = Issuer(public("RS256"))
    issuer.away = True
    keys = issuer.read_by()
    with pytest.raises(KeysUnavailable):
        await keys.verify(token())
    assert await keys.verify(mint(keys.settings, tenant="acme", actor="a", valid=timedelta(minutes=1)))
    issuer.away = False
    issuer.later()
    assert (await keys.verify(token())).tenant == "acme"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"keys": 1}', b'{"keys": [1, {}]}', b"\xff", b"x" * 300_000])
async def test_what_is_no_jwks_is_an_issuer_that_is_away_or_has_no_keys(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(content)
    keys = Keys(AuthSettings(jwks_url=f"file://{tmp_path}/jwks.json"), httpx.AsyncClient())
    with pytest.raises((KeysUnavailable, Unauthenticated)):
        await keys.verify(token(iss="runtide"))


async def test_a_file_is_read_again_like_an_address(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [public("EdDSA")]}))
    settings = AuthSettings(jwks_url=f"file://{file}")
    keys, now = Keys(settings, httpx.AsyncClient()), [0.0]
    keys.public = Jwks(str(settings.jwks_url), httpx.AsyncClient(), 300, clock=lambda: now[0])
    assert (await keys.verify(token("EdDSA", iss="runtide"))).tenant == "acme"
    file.write_text(json.dumps({"keys": [public("ES256", "two")]}))
    now[0] = ASK_AT_MOST_EVERY_SECONDS
    assert (await keys.verify(token("ES256", "two", iss="runtide"))).tenant == "acme"


@pytest.mark.parametrize("bits", [1024])
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_short_key_proves_nothing(bits: int) -> None:
    short = rsa.generate_private_key(65537, bits)
    said = jwt.get_algorithm_by_name("RS256").to_jwk(short.public_key(), as_dict=True)  # type: ignore[call-overload]
    said.pop("key_ops", None)
    keys = Issuer({**said, "kid": "one"}).read_by()
    assert "no key with kid" in await why_not(keys, token(key=short))
