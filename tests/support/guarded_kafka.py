"""A Kafka of one's own that knows its users: SCRAM and TLS, an authorizer, and no right for anybody but `admin`.

A single KRaft broker on loopback from the jars of the native stack, whatever stack the other parts come from.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import secrets
import shutil
import socket
import subprocess
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.native import bootstrap, ports, setup, tools
from tests.support.eventually import eventually

ADMIN = "admin"
LOOPBACK = "127.0.0.1"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required"


class GuardedKafka:
    """`env(user)` is how that user logs in."""

    def __init__(self, directory: Path, users: Sequence[str]) -> None:
        self.directory = directory
        self.passwords = {user: secrets.token_hex(16) for user in (ADMIN, *users)}
        wanted = dict.fromkeys(("SASL_PLAINTEXT", "SASL_SSL", "SSL", "CONTROLLER"), 0)
        self.ports = ports.pick({}, in_use=frozenset(), preferred=wanted, use_preferred=False)
        self.authority = Authority(directory)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> GuardedKafka:
        await asyncio.to_thread(bootstrap.native)
        await asyncio.to_thread(tools.fetch_jars)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
        self.authority.sign("broker", address)
        file = self._write_properties()
        users = [f"SCRAM-SHA-512=[name={user},password={password}]" for user, password in self.passwords.items()]
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "A", 1)
        await self._java(
            "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(file),
            *(word for user in users for word in ("--add-scram", user)),
        )  # fmt: skip
        log = (self.directory / "broker.log").open("wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *setup.java_command(), "kafka.Kafka", str(file), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        await eventually(self._listens, within_seconds=90, what=f"a broker; its log is {log.name}")
        return self

    async def add_user(self, user: str, password: str) -> None:
        """With Kafka's tool, as docs/access.md says it."""
        login = f'{_SCRAM} username="{ADMIN}" password="{self.passwords[ADMIN]}";'
        config = self.directory / "admin.properties"
        config.write_text(
            f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config={login}\n",
            encoding="utf-8",
        )
        await self._java(
            "kafka.admin.ConfigCommand", "--bootstrap-server", f"{LOOPBACK}:{self.ports['SASL_PLAINTEXT']}",
            "--command-config", str(config), "--alter", "--entity-type", "users", "--entity-name", user,
            "--add-config", f"SCRAM-SHA-512=[password={password}]",
        )  # fmt: skip
        self.passwords[user] = password

    async def stop(self) -> None:
        """At once: nobody reads its data again."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def env(self, user: str, *, protocol: str = "SASL_PLAINTEXT") -> dict[str, str]:
        """By its password, or with `SSL` by a certificate."""
        said = {
            "RUNTIDE_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self.ports[protocol]}",
            "RUNTIDE_KAFKA_SECURITY_PROTOCOL": protocol,
        }
        if protocol.endswith("SSL"):
            said["RUNTIDE_KAFKA_SSL_CA_FILE"] = str(self.authority.file)
        if protocol == "SSL":
            return said | {"RUNTIDE_KAFKA_SSL_CERT_FILE": str(self.authority.sign(user))}
        return said | {"RUNTIDE_KAFKA_SASL_USERNAME": user, "RUNTIDE_KAFKA_SASL_PASSWORD": self.passwords[user]}

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, (self.directory / "broker.log").read_text(encoding="utf-8")[-2000:]
        with socket.socket() as asking:
            return asking.connect_ex((LOOPBACK, self.ports["SASL_SSL"])) == 0

    async def _java(self, *words: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *setup.java_command(), *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()

    def _write_properties(self) -> Path:
        at = {name: f"{name}://{LOOPBACK}:{port}" for name, port in self.ports.items()}
        own = {
            "listeners": ",".join(at.values()),
            "advertised.listeners": f"{at['SASL_PLAINTEXT']},{at['SASL_SSL']},{at['SSL']}",
            "listener.security.protocol.map": (
                "CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL"
            ),
            "inter.broker.listener.name": "SASL_PLAINTEXT",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": (
                f'{_SCRAM} username="{ADMIN}" password="{self.passwords[ADMIN]}";'
            ),
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{_SCRAM};",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self.directory / "broker.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
            "listener.name.ssl.ssl.client.auth": "required",
            "listener.name.ssl.ssl.principal.mapping.rules": "RULE:^CN=([^,]+)$/$1/",
            "controller.quorum.voters": f"1@{LOOPBACK}:{self.ports['CONTROLLER']}",
            "log.dirs": str(self.directory / "logs"),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            # The controller's listener is the broker's own: nobody else is ANONYMOUS.
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
        }
        shipped = (bootstrap.ROOT / "deploy" / "kafka" / "server.properties").read_text(encoding="utf-8")
        file = self.directory / "server.properties"
        file.write_text(shipped + "".join(f"{name}={value}\n" for name, value in own.items()), encoding="utf-8")
        return file


class Authority:
    """A CA of one's own."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._name = directory, _named("Runtide's tests")
        self._key = ec.generate_private_key(ec.SECP256R1())
        itself = x509.BasicConstraints(ca=True, path_length=None)
        self.file = directory / "ca.pem"
        self.file.write_bytes(_pem(_certificate(self._name, self._name, self._key, self._key, itself)))

    def sign(self, name: str, extension: x509.ExtensionType | None = None) -> Path:
        """A file with a new key and its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        nothing = x509.BasicConstraints(ca=False, path_length=None)
        held = _certificate(_named(name), self._name, key, self._key, extension or nothing)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = self._directory / f"{name}.pem"
        file.write_bytes(private + _pem(held))
        return file


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:  # fmt: skip
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=True)
        .sign(signer, hashes.SHA256())
    )
