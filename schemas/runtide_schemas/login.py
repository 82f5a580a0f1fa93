"""How a client logs in to Kafka: the names of its settings, checked together, and what aiokafka is told.

The one room for services, SDK and flows. The facts not to break: a password is in no `repr` and in no error, and what
would be left unused in silence (a password without SASL, a certificate without SSL) is refused.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

PREFIX = "RUNTIDE_KAFKA_"
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class LoginImpossible(ValueError):
    """These settings can not be meant; the text says what was got, what is allowed and what to do."""


@dataclass(frozen=True, slots=True)
class KafkaLogin:
    """Checked when it is made. Raises: LoginImpossible."""

    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_ca_file: str | os.PathLike[str] | None = None
    ssl_cert_file: str | os.PathLike[str] | None = None
    ssl_key_file: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise LoginImpossible("; ".join(problems))
        if self.encrypted:
            self._context()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> KafkaLogin:
        """Each from its variable, or from the file that `<variable>_FILE` names. Raises: LoginImpossible."""
        found = {name: _read(variable, environment) for name, variable in VARIABLES.items()}
        return cls(**{name: value for name, value in found.items() if value})

    @property
    def encrypted(self) -> bool:
        return self.security_protocol.endswith("SSL")

    @property
    def by_password(self) -> bool:
        return self.security_protocol.startswith("SASL")

    def arguments(self) -> dict[str, Any]:
        """What each client of aiokafka takes beside its brokers. Files are read anew, so that they can be changed."""
        told: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.encrypted:
            told["ssl_context"] = self._context()
        if self.by_password:
            told |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return told

    def _problems(self) -> Iterator[str]:
        protocol = f"{PREFIX}SECURITY_PROTOCOL is {self.security_protocol!r}"
        if self.security_protocol not in PROTOCOLS:
            yield f"{protocol}; allowed are {', '.join(PROTOCOLS)}"
            return
        if self.sasl_mechanism not in MECHANISMS:
            yield f"{PREFIX}SASL_MECHANISM is {self.sasl_mechanism!r}; allowed are {', '.join(MECHANISMS)}"
        of_password, of_ssl = ("sasl_username", "sasl_password"), ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")
        if self.by_password and (missing := [VARIABLES[name] for name in of_password if not getattr(self, name)]):
            yield f"{protocol}, without {' and '.join(missing)}; set a name and a password that the broker knows"
        if not self.by_password and (unused := self._set(*of_password)):
            yield f"{protocol}, which asks for no password, beside {unused}; set SASL_SSL or SASL_PLAINTEXT, or unset"
        if not self.encrypted and (unused := self._set(*of_ssl)):
            yield f"{protocol}, which encrypts nothing, beside {unused}; set SSL or SASL_SSL, or unset"
        if self.ssl_key_file and not self.ssl_cert_file:
            yield f"{VARIABLES['ssl_key_file']} is set, without {VARIABLES['ssl_cert_file']}; set both, or neither"
        for name in of_ssl:
            if (path := getattr(self, name)) and not Path(path).is_file():
                yield f"{VARIABLES[name]} is {str(path)!r}, and there is no such file; give the path of a PEM file"

    def _set(self, *names: str) -> str:
        return " and ".join(VARIABLES[name] for name in names if getattr(self, name))

    def _context(self) -> ssl.SSLContext:
        """Without a CA file those of the system count. The name of the broker is always compared."""
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca_file)
            if self.ssl_cert_file:
                context.load_cert_chain(self.ssl_cert_file, self.ssl_key_file, password=_no_passphrase)
        except (OSError, ValueError) as error:
            named = self._set("ssl_ca_file", "ssl_cert_file", "ssl_key_file")
            raise LoginImpossible(f"{named} cannot be used: {error}; give PEM files that belong together") from None
        return context


VARIABLES: Mapping[str, str] = {one.name: f"{PREFIX}{one.name.upper()}" for one in fields(KafkaLogin)}


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted, and nobody is here to be asked for its passphrase")


def _read(variable: str, environment: Mapping[str, str]) -> str | None:
    path = environment.get(f"{variable}_FILE")
    if environment.get(variable) or not path:
        return environment.get(variable)
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise LoginImpossible(f"{variable}_FILE is {path!r}, which cannot be read: {error.strerror}") from None
