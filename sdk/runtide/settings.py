"""Where Runtide is: read from the environment, else from `.runtide/stack.env` of the directory or one above it.

The fact not to break: two stacks are never mixed. The file fills what is absent only while no address that is set says
something else than the file does; otherwise the file is left out, and `ignored` says why.
"""

from __future__ import annotations

import base64
import getpass
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtide_schemas import login
from runtide_schemas.login import KafkaLogin, LoginImpossible
from runtide_schemas.message import Message
from runtide_schemas.vocabulary import TENANT_PATTERN, is_tenant

from runtide.errors import ConfigurationError

STACK_FILE = Path(".runtide") / "stack.env"
STACK_FILE_VARIABLE = "RUNTIDE_STACK_ENV"
SERVICES = ("submission", "run_tracker", "lineage", "notifier")

VARIABLES = {
    "kafka_bootstrap": "RUNTIDE_KAFKA_BOOTSTRAP",
    "kafka_prefix": "RUNTIDE_KAFKA_PREFIX",
    "tenant": "RUNTIDE_TENANT",
    "token": "RUNTIDE_TOKEN",
    "submission_url": "RUNTIDE_SUBMISSION_URL",
    "run_tracker_url": "RUNTIDE_RUN_TRACKER_URL",
    "lineage_url": "RUNTIDE_LINEAGE_URL",
    "notifier_url": "RUNTIDE_NOTIFIER_URL",
    "dashboard_url": "RUNTIDE_DASHBOARD_URL",
    "prefect_api_url": "RUNTIDE_PREFECT_API_URL",
    "s3_endpoint": "RUNTIDE_S3_ENDPOINT",
    "centrifugo_api_url": "RUNTIDE_CENTRIFUGO_API_URL",
    "centrifugo_ws_url": "RUNTIDE_CENTRIFUGO_WS_URL",
    **{f"kafka_{name}": variable for name, variable in login.VARIABLES.items()},
}
_SECRETS = frozenset({"token", "kafka_sasl_password"})
_NO_ADDRESS = frozenset({"RUNTIDE_TENANT", "RUNTIDE_TOKEN", "RUNTIDE_KAFKA_PREFIX", *login.VARIABLES.values()})


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What a client needs: Kafka for commands and updates, the services' URLs for lists, artifacts and catching up."""

    tenant: str
    kafka_bootstrap: str | None = None
    kafka_prefix: str = ""
    actor: str = "unknown"
    token: str | None = field(default=None, repr=False)
    submission_url: str | None = None
    run_tracker_url: str | None = None
    lineage_url: str | None = None
    notifier_url: str | None = None
    dashboard_url: str | None = None
    prefect_api_url: str | None = None
    s3_endpoint: str | None = None
    centrifugo_api_url: str | None = None
    centrifugo_ws_url: str | None = None
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: str | None = field(default=None, repr=False)
    kafka_ssl_ca_file: str | None = None
    kafka_ssl_cert_file: str | None = None
    kafka_ssl_key_file: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    stack_file: Path | None = field(default=None, repr=False, compare=False)
    ignored: str | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not is_tenant(self.tenant):
            raise ConfigurationError(f"the tenant is {self.tenant!r}, allowed is {TENANT_PATTERN[1:-1]}")
        try:
            self.kafka_login()
        except LoginImpossible as error:
            raise ConfigurationError(str(error)) from None

    def token_for(self, message: Message) -> str | None:
        """What a message on Kafka carries: our token, where it speaks for the message's tenant."""
        return self.token if claims_of(self.token).get("tenant") == getattr(message, "tenant", None) else None

    @property
    def brokers(self) -> list[str]:
        """Raises: ConfigurationError where Kafka is not configured."""
        if not self.kafka_bootstrap:
            raise ConfigurationError(
                "RUNTIDE_KAFKA_BOOTSTRAP is not set; set it to host:port of a broker, or run `make up` and work below "
                "the directory that holds .runtide/stack.env"
            )
        return self.kafka_bootstrap.split(",")

    def kafka_login(self) -> KafkaLogin:
        """Who we are to the brokers."""
        return KafkaLogin(**{name: getattr(self, f"kafka_{name}") for name in login.VARIABLES})

    def kafka_client(self) -> dict[str, Any]:
        """What every client of aiokafka is made with. Raises: ConfigurationError."""
        return {"bootstrap_servers": self.brokers, **self.kafka_login().arguments()}

    def url_of(self, service: str) -> str:
        """Raises: ConfigurationError naming the variable."""
        url: str | None = getattr(self, f"{service}_url")
        if not url:
            raise ConfigurationError(f"{VARIABLES[f'{service}_url']} is not set; this needs the service {service}")
        return url.rstrip("/")

    def has(self, service: str) -> bool:
        return bool(getattr(self, f"{service}_url"))

    def with_actor(self, actor: str) -> ClientSettings:
        return replace(self, actor=actor)

    def masked(self) -> list[tuple[str, str | None, str]]:
        """(variable, value, where it comes from), secrets shortened beyond use."""
        rows: list[tuple[str, str | None, str]] = []
        for name, variable in VARIABLES.items():
            value = getattr(self, name)
            shown = _mask(value) if name in _SECRETS and value else value
            rows.append((variable, shown or None, self.sources.get(name, "default" if shown else "not set")))
        return rows


def load(environment: Mapping[str, str] | None = None, directory: Path | None = None) -> ClientSettings:
    """The settings of this process.

    Raises: ConfigurationError where no tenant can be found, the token is of another one, or a value is impossible.
    """
    env = dict(os.environ if environment is None else environment)
    stack_file = find_stack_file(env, directory or Path.cwd())
    from_file = read_stack_file(stack_file) if stack_file else {}
    ignored = _contradiction(env, from_file)
    if ignored:
        from_file = {}
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    for name, variable in VARIABLES.items():
        if value := _from_environment(env, variable):
            values[name], sources[name] = value, "environment"
        elif value := from_file.get(variable):
            values[name], sources[name] = value, str(stack_file)
    claims = claims_of(values.get("token"))
    if "tenant" not in values and isinstance(claims.get("tenant"), str):
        values["tenant"], sources["tenant"] = claims["tenant"], "RUNTIDE_TOKEN"
    if "tenant" not in values:
        raise ConfigurationError(
            "RUNTIDE_TENANT is not set and there is no .runtide/stack.env here or above; "
            "set RUNTIDE_TENANT and RUNTIDE_KAFKA_BOOTSTRAP, or run `make up`"
        )
    _same_tenant(values["tenant"], claims, sources)
    actor = str(claims.get("sub") or _user())
    return ClientSettings(actor=actor, sources=sources, stack_file=stack_file, ignored=ignored, **values)


def find_stack_file(environment: Mapping[str, str], directory: Path) -> Path | None:
    if named := environment.get(STACK_FILE_VARIABLE):
        return Path(named)
    candidates = (parent / STACK_FILE for parent in (directory, *directory.parents))
    return next((path for path in candidates if path.is_file()), None)


def read_stack_file(path: Path) -> dict[str, str]:
    """`NAME=value` lines in shell syntax, with or without `export`. Raises: ConfigurationError with the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ConfigurationError(f"{path}:{number}: {error}") from None
        for word in words[1:] if words[:1] == ["export"] else words:
            name, equals, value = word.partition("=")
            if equals:
                found[name] = value
    return found


def _from_environment(env: Mapping[str, str], variable: str) -> str | None:
    if value := env.get(variable):
        return value
    path = env.get(f"{variable}_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(f"{variable}_FILE names {path}, which cannot be read: {error.strerror}") from None


def _contradiction(env: Mapping[str, str], from_file: Mapping[str, str]) -> str | None:
    for variable in VARIABLES.values():
        said = env.get(variable)
        if said and variable not in _NO_ADDRESS and variable in from_file and from_file[variable] != said:
            return f"{variable} of the environment names another stack"
    return None


def _same_tenant(tenant: str, claims: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Else lists would show the token's tenant, and commands go to the other one."""
    of_token = claims.get("tenant")
    if isinstance(of_token, str) and of_token != tenant:
        raise ConfigurationError(
            f"RUNTIDE_TENANT is {tenant!r} ({sources['tenant']}), but RUNTIDE_TOKEN ({sources['token']}) is of tenant "
            f"{of_token!r}; set RUNTIDE_TOKEN to a token of {tenant!r}, or RUNTIDE_TENANT to {of_token!r}"
        )


def claims_of(token: str | None) -> dict[str, Any]:
    """What the token says of its bearer; the services verify it, we only read."""
    try:
        payload = (token or "").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _mask(secret: str) -> str:
    return f"…{secret[-4:]} ({len(secret)} characters)" if len(secret) >= 16 else "…"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
