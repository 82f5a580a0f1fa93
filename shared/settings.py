"""Settings that all services share: `RUNTIDE_<GROUP>_<NAME>`, each also readable from a file named by `…_FILE`.

A service adds its own as `<SERVICE>_<NAME>` on top of `ServiceSettings`. No secret has a default. An unknown variable
with one of our prefixes is an error of `config check`, so that a misspelt name never passes in silence.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from runtide_schemas.login import MECHANISMS, PROTOCOLS, KafkaLogin

# Names of the stack's file and of the tools around the services (contract §1); they are no settings of a service.
CONTRACT_NAMES = frozenset(
    {
        "RUNTIDE_SUBMISSION_URL", "RUNTIDE_RUN_TRACKER_URL", "RUNTIDE_LINEAGE_URL", "RUNTIDE_NOTIFIER_URL",
        "RUNTIDE_DASHBOARD_URL", "RUNTIDE_TENANT", "RUNTIDE_TOKEN", "RUNTIDE_TOKEN_OTHER", "RUNTIDE_CACHE",
        "RUNTIDE_CENTRIFUGO_BIN", "RUNTIDE_KAFKA_REPLICATION_FACTOR", "RUNTIDE_REALTIME_BIN", "RUNTIDE_STACK_ENV",
        "RUNTIDE_RUN_TOKEN",
    }
)  # fmt: skip

_KID = re.compile(r"([A-Za-z0-9._-]{1,32}):")


class _FileSource(PydanticBaseSettingsSource):
    """Reads `<PREFIX><NAME>_FILE`: the value is the content of that file, without the newline at its end."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        name = f"{self.config.get('env_prefix', '')}{field_name}_FILE".upper()
        path = os.environ.get(name)
        return (Path(path).read_text(encoding="utf-8").rstrip("\n") if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(info, name)[0] for name, info in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class Group(BaseSettings):
    """A group of settings with one prefix."""

    # What was given may be a secret: an error says what is wrong, and never shows it.
    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FileSource(settings_cls)


class KafkaSettings(Group):
    """Where Kafka is and who we are there."""

    model_config = SettingsConfigDict(env_prefix="RUNTIDE_KAFKA_", env_ignore_empty=True)
    bootstrap: str = Field(description="host:port of one or more brokers, separated by commas")
    prefix: str = Field("", description="put before every topic and group; for clusters shared with others")
    fetch_max_wait_ms: int = 500
    batch_records: int = Field(1000, ge=1, le=10_000)
    session_timeout_ms: int = 10_000
    security_protocol: str = Field("PLAINTEXT", description=f"one of {', '.join(PROTOCOLS)} (docs/access.md)")
    sasl_mechanism: str = Field("SCRAM-SHA-512", description=f"one of {', '.join(MECHANISMS)}")
    sasl_username: str | None = Field(None, description="whom Kafka's ACLs name: User:<this>")
    sasl_password: SecretStr | None = None
    ssl_ca_file: Path | None = Field(
        None, description="PEM: who signed the brokers' certificates; default: the system's"
    )
    ssl_cert_file: Path | None = Field(None, description="PEM: our own certificate, where brokers ask for one")
    ssl_key_file: Path | None = Field(None, description="PEM: its key, where it is not in the same file")

    @model_validator(mode="after")
    def _can_be_meant(self) -> Self:
        self.login()
        return self

    def login(self) -> KafkaLogin:
        """Who we are to the brokers."""
        return KafkaLogin(
            security_protocol=self.security_protocol,
            sasl_mechanism=self.sasl_mechanism,
            sasl_username=self.sasl_username,
            sasl_password=self.sasl_password.get_secret_value() if self.sasl_password is not None else None,
            ssl_ca_file=self.ssl_ca_file,
            ssl_cert_file=self.ssl_cert_file,
            ssl_key_file=self.ssl_key_file,
        )

    @property
    def brokers(self) -> list[str]:
        return self.bootstrap.split(",")

    def client(self) -> dict[str, Any]:
        """What every client of aiokafka is made with."""
        return {"bootstrap_servers": self.brokers, **self.login().arguments()}


class PostgresSettings(Group):
    model_config = SettingsConfigDict(env_prefix="RUNTIDE_POSTGRES_")
    dsn: SecretStr = Field(description="postgresql://user:password@host:port/database")
    statement_timeout_seconds: int = 30
    lock_timeout_seconds: int = 10


class PrefectSettings(Group):
    model_config = SettingsConfigDict(env_prefix="RUNTIDE_PREFECT_")
    api_url: str = Field(description="Prefect's API, ending in /api")
    api_key: SecretStr | None = None
    timeout_seconds: float = 10.0


class PrefectUiSettings(Group):
    """Where people open Prefect: all that a service needs which only links to it."""

    model_config = SettingsConfigDict(env_prefix="RUNTIDE_PREFECT_")
    api_url: str | None = None
    ui_url: str | None = Field(None, description="where people open Prefect; default: the API's address without /api")

    def address(self) -> str | None:
        if self.ui_url is None and self.api_url is not None:
            return self.api_url.rstrip("/").removesuffix("/api")
        return self.ui_url


class CentrifugoSettings(Group):
    model_config = SettingsConfigDict(env_prefix="RUNTIDE_CENTRIFUGO_")
    api_url: str = Field(description="Centrifugo's HTTP API, without /api at its end")
    api_key: SecretStr
    ws_url: str = Field(description="what browsers connect to: ws://…/connection/websocket")
    token_hmac_key: SecretStr = Field(description="signs connection and subscription tokens")


class S3Settings(Group):
    model_config = SettingsConfigDict(env_prefix="RUNTIDE_S3_")
    endpoint: str = Field(description="http(s)://host:port of any S3")
    access_key: SecretStr
    secret_key: SecretStr
    region: str = "us-east-1"
    bucket: str = Field("runs", description="bucket of the runs' artifacts")


class HmacKey(NamedTuple):
    """A key of ours. `kid` None: it has no name, and is tried for every token without one."""

    kid: str | None
    secret: str


class AuthSettings(Group):
    """Who signs tokens: we (HMAC keys), an issuer (JWKS), or both."""

    model_config = SettingsConfigDict(env_prefix="RUNTIDE_AUTH_")
    hmac_keys: SecretStr | None = Field(
        None, description="HS256 keys, comma separated, each `key` or `kid:key`; the first signs, each verifies"
    )
    issuer: str = Field("runtide", description="`iss` of tokens under the HMAC keys")
    audience: str = Field("runtide", description="`aud` of every token")
    jwks_url: str | None = Field(
        None, description="an issuer's public keys (RS256, ES256, EdDSA): https://… or file:///…"
    )
    jwks_issuer: str | None = Field(None, description="`iss` of tokens under the public keys; default: the issuer")
    jwks_refresh_seconds: float = Field(300.0, ge=10, description="how long public keys are believed unasked")
    leeway_seconds: int = Field(5, ge=0, le=300, description="by how much clocks may differ")

    @field_validator("hmac_keys")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        keys = _hmac_keys(value)
        short = [key for key in keys if len(key.secret) < 32]
        if short:
            raise ValueError(f"{len(short)} of the HMAC keys are shorter than 32 characters")
        kids = [key.kid for key in keys if key.kid is not None]
        if len(kids) != len(set(kids)):
            raise ValueError("two of the HMAC keys have the same kid")
        return value

    @field_validator("jwks_url")
    @classmethod
    def _can_be_read(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://", "file:///")):
            raise ValueError(f"{value!r} is no address of keys; allowed are https://…, http://… and file:///…")
        return value

    @model_validator(mode="after")
    def _somebody_signs(self) -> Self:
        if self.hmac_keys is None and self.jwks_url is None:
            raise ValueError("nobody could be believed: set RUNTIDE_AUTH_HMAC_KEYS or RUNTIDE_AUTH_JWKS_URL")
        return self

    def keys(self) -> tuple[HmacKey, ...]:
        """Our keys, the one that signs first; none where the issuer alone signs."""
        return _hmac_keys(self.hmac_keys)


def _hmac_keys(value: SecretStr | None) -> tuple[HmacKey, ...]:
    parts = value.get_secret_value().split(",") if value is not None else []
    found = [(_KID.match(part), part) for part in parts]
    return tuple(HmacKey(kid[1], part[kid.end() :]) if kid else HmacKey(None, part) for kid, part in found)


class CommandsSettings(Group):
    model_config = SettingsConfigDict(env_prefix="RUNTIDE_COMMANDS_")
    auth: Literal["open", "token"] = Field(
        "open",
        description="who is believed on Kafka: open, whoever can write to the topic, or token (docs/access.md)",
    )


class UrlSettings(Group):
    """Where a browser or a client reaches the services; notifier hands them to the dashboard."""

    model_config = SettingsConfigDict(env_prefix="RUNTIDE_")
    submission_url: str | None = None
    run_tracker_url: str | None = None
    lineage_url: str | None = None
    notifier_url: str | None = None
    dashboard_url: str | None = None


class ServiceSettings(Group):
    """What every service reads. A subclass sets `env_prefix` to its own, and adds its own fields and the groups of the
    neighbours that it speaks to; a service is never told a secret that it has no use for.
    """

    name: ClassVar[str]

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    postgres: PostgresSettings = Field(default_factory=PostgresSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    commands: CommandsSettings = Field(default_factory=CommandsSettings)
    urls: UrlSettings = Field(default_factory=UrlSettings)

    http_host: str = "127.0.0.1"
    http_port: int = 0
    instance_id: str = Field(default_factory=socket.gethostname, description="unique and stable per process")
    log_format: Literal["json", "console"] = "json"
    log_level: str = "INFO"
    keep_dead_letters_days: float = Field(90.0, gt=0, description="how long a replayed or dropped letter is kept")

    @model_validator(mode="after")
    def _can_sign_its_own(self) -> Self:
        if self.commands.auth == "token" and not self.auth.keys():
            raise ValueError("RUNTIDE_COMMANDS_AUTH=token needs RUNTIDE_AUTH_HMAC_KEYS: we sign what we send ourselves")
        return self


SharedSettings = ServiceSettings


def environment_names(settings: type[ServiceSettings]) -> Iterator[tuple[str, FieldInfo]]:
    """Every variable that these settings read, with its field; groups first."""
    own_prefix = str(settings.model_config.get("env_prefix", ""))
    for name, info in settings.model_fields.items():
        group = info.annotation
        if isinstance(group, type) and issubclass(group, Group):
            prefix = str(group.model_config.get("env_prefix", ""))
            yield from ((f"{prefix}{field}".upper(), inner) for field, inner in group.model_fields.items())
        else:
            yield f"{own_prefix}{name}".upper(), info


def unknown_names(settings: type[ServiceSettings], environment: Mapping[str, str]) -> list[str]:
    """Variables that carry one of our prefixes and that nobody reads."""
    known = {name for name, _ in environment_names(settings)}
    for group in (PrefectSettings, PrefectUiSettings, CentrifugoSettings, S3Settings):  # other services' neighbours
        known |= {f"{group.model_config.get('env_prefix', '')}{field}".upper() for field in group.model_fields}
    known |= {f"{name}_FILE" for name in known} | CONTRACT_NAMES
    prefixes = ("RUNTIDE_", str(settings.model_config.get("env_prefix", "")).upper())
    return sorted(name for name in environment if name.startswith(prefixes) and name not in known)
