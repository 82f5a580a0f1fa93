"""`stack.env`: every name of the contract. What the caller had set before `up` wins, and that part is not started."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.native.layout import write_private

TENANT, OTHER_TENANT = "acme", "globex"
TOKEN_DAYS = 365
# The names of shared/auth.py's SCOPES, all of them: a token for development.
SCOPES = "requests:write runs:read instances:read instances:write ops runs:report"

# A variable that stands for a part: who sets it brings that part along.
BRINGS: Mapping[str, str] = {
    "RUNTIDE_KAFKA_BOOTSTRAP": "kafka",
    "RUNTIDE_POSTGRES_DSN": "postgres",
    "RUNTIDE_S3_ENDPOINT": "s3",
    "RUNTIDE_PREFECT_API_URL": "prefect",
    "RUNTIDE_CENTRIFUGO_API_URL": "realtime",
    "RUNTIDE_SUBMISSION_URL": "submission",
    "RUNTIDE_RUN_TRACKER_URL": "run_tracker",
    "RUNTIDE_LINEAGE_URL": "lineage",
    "RUNTIDE_NOTIFIER_URL": "notifier",
}
# Who brings the part brings these too, or it cannot be used.
GOES_WITH: Mapping[str, tuple[str, ...]] = {
    "s3": ("RUNTIDE_S3_ACCESS_KEY", "RUNTIDE_S3_SECRET_KEY"),
    "realtime": ("RUNTIDE_CENTRIFUGO_API_KEY", "RUNTIDE_CENTRIFUGO_WS_URL", "RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY"),
}
# Who is believed on Kafka, and how everybody logs in to a Kafka that was brought: they count whenever they are set.
COMMANDS_AUTH, LOGIN = "RUNTIDE_COMMANDS_AUTH", ("RUNTIDE_KAFKA_SECURITY_", "RUNTIDE_KAFKA_SASL_", "RUNTIDE_KAFKA_SSL_")
SECRETS = (
    "POSTGRES_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "CENTRIFUGO_API_KEY",
    "CENTRIFUGO_TOKEN_HMAC_KEY",
    "AUTH_HMAC_KEY",
)


class IncompleteEnvironment(Exception):
    """A part was brought from outside without what is needed to use it."""


def load_secrets(path: Path) -> dict[str, str]:
    """The secrets of this stack, made once."""
    known = read(path)
    missing = [name for name in SECRETS if name not in known]
    if missing:
        known |= {name: secrets.token_hex(32 if name != "S3_ACCESS_KEY" else 10) for name in missing}
        write_private(path, "".join(f"{name}={value}\n" for name, value in known.items()))
    return known


def read(path: Path) -> dict[str, str]:
    """A file of shell assignments, `NAME=value` with the shell's quoting."""
    if not path.exists():
        return {}
    lines = (shlex.split(line, comments=True) for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (words[-1].partition("=") for words in lines if words and "=" in words[-1])
    return {name: value for name, _, value in pairs}


def given(environment: Mapping[str, str], written: Mapping[str, str]) -> dict[str, str]:
    """What the caller set. A value that an earlier `up` of this stack wrote is ours: its file was sourced."""
    names = {*BRINGS, *(name for names in GOES_WITH.values() for name in names)}
    names |= {name for name in environment if name.startswith("RUNTIDE_AUTH_")} | {
        "RUNTIDE_TENANT",
        "RUNTIDE_TOKEN",
        "RUNTIDE_TOKEN_OTHER",
    }
    said = {name for name in environment if name == COMMANDS_AUTH or name.startswith(LOGIN)}
    return {
        name: environment[name]
        for name in sorted(names | said)
        if environment.get(name) and (name in said or environment[name] != written.get(name))
    }


def external_parts(given_names: Mapping[str, str]) -> frozenset[str]:
    """Parts that the caller brought.

    Raises:
        IncompleteEnvironment: an address came without its keys.
    """
    parts = frozenset(BRINGS[name] for name in given_names if name in BRINGS)
    for part in sorted(parts & GOES_WITH.keys()):
        missing = [name for name in GOES_WITH[part] if name not in given_names]
        if missing:
            raise IncompleteEnvironment(f"{part} comes from the environment, but without {', '.join(missing)}")
    login = [name for name in given_names if name.startswith(LOGIN)]
    if login and "kafka" not in parts:
        raise IncompleteEnvironment(
            f"{', '.join(login)} set without RUNTIDE_KAFKA_BOOTSTRAP: the Kafka that we start asks for no login"
        )
    return parts


def compose(
    ports: Mapping[str, int], keys: Mapping[str, str], given_values: Mapping[str, str], *, now: float | None = None
) -> dict[str, str]:
    """The whole of `stack.env`."""

    def at(name: str) -> str:
        return f"127.0.0.1:{ports[name]}"

    issued = int(now if now is not None else time.time())
    auth_keys = given_values.get("RUNTIDE_AUTH_HMAC_KEYS", keys["AUTH_HMAC_KEY"])
    tenant = given_values.get("RUNTIDE_TENANT", TENANT)
    notifier = f"http://{at('notifier')}"
    values = {
        "RUNTIDE_KAFKA_BOOTSTRAP": at("kafka"),
        "RUNTIDE_POSTGRES_DSN": f"postgresql://runtide:{keys['POSTGRES_PASSWORD']}@{at('postgres')}/runtide",
        "RUNTIDE_S3_ENDPOINT": f"http://{at('s3')}",
        "RUNTIDE_S3_ACCESS_KEY": keys["S3_ACCESS_KEY"],
        "RUNTIDE_S3_SECRET_KEY": keys["S3_SECRET_KEY"],
        "RUNTIDE_PREFECT_API_URL": f"http://{at('prefect')}/api",
        "RUNTIDE_CENTRIFUGO_API_URL": f"http://{at('realtime_internal')}",
        "RUNTIDE_CENTRIFUGO_API_KEY": keys["CENTRIFUGO_API_KEY"],
        "RUNTIDE_CENTRIFUGO_WS_URL": f"ws://{at('realtime')}/connection/websocket",
        "RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY": keys["CENTRIFUGO_TOKEN_HMAC_KEY"],
        "RUNTIDE_SUBMISSION_URL": f"http://{at('submission')}",
        "RUNTIDE_RUN_TRACKER_URL": f"http://{at('run_tracker')}",
        "RUNTIDE_LINEAGE_URL": f"http://{at('lineage')}",
        "RUNTIDE_NOTIFIER_URL": notifier,
        "RUNTIDE_AUTH_HMAC_KEYS": auth_keys,
        "RUNTIDE_TENANT": tenant,
        "RUNTIDE_TOKEN": token(auth_keys, tenant, issued),
        "RUNTIDE_TOKEN_OTHER": token(auth_keys, OTHER_TENANT if tenant != OTHER_TENANT else TENANT, issued),
        **given_values,
    }
    values["RUNTIDE_DASHBOARD_URL"] = values["RUNTIDE_NOTIFIER_URL"]
    values |= {
        f"{name.upper()}_HTTP_PORT": str(ports[name]) for name in ("submission", "run_tracker", "lineage", "notifier")
    }
    values["PREFECT_API_URL"] = values["RUNTIDE_PREFECT_API_URL"]
    return values


def save(path: Path, values: Mapping[str, str]) -> None:
    lines = ["# Written by `make up`. In a shell: set -a; . .runtide/stack.env; set +a"]
    lines += [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    write_private(path, "\n".join(lines) + "\n")


def token(hmac_keys: str, tenant: str, issued: int) -> str:
    """A bearer token for development: `dev@<tenant>`, every scope, as `shared.auth` verifies it (HS256)."""
    claims = {
        "iss": "runtide", "aud": "runtide", "sub": f"dev@{tenant}", "tenant": tenant, "scope": SCOPES,
        "iat": issued, "exp": issued + TOKEN_DAYS * 86_400,
    }  # fmt: skip
    kid, key = named(hmac_keys.split(",")[0])
    header = {"alg": "HS256", "typ": "JWT", **({"kid": kid} if kid else {})}
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{_text(hmac.digest(key.encode(), signed.encode(), hashlib.sha256))}"


def named(key: str) -> tuple[str, str]:
    """`kid:key` in its parts, as in shared/settings.py; a key without a name has an empty one."""
    found = re.match(r"([A-Za-z0-9._-]{1,32}):", key)
    return (found[1], key[found.end() :]) if found else ("", key)


def _part(value: Mapping[str, object]) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
