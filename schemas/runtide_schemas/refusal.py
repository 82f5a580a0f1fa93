"""What a broker says to a login that it does not take. aiokafka logs it and raises only that it could not connect.

With `cluster`, what of this package needs aiokafka (extra `cluster`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from runtide_schemas.login import PREFIX, KafkaLogin

PATIENCE_SECONDS = 3.0
_REFUSALS = (
    AuthenticationFailedError, IllegalSaslStateError, SaslAuthenticationFailed, UnsupportedSaslMechanismError,
)  # fmt: skip


async def refusal(brokers: Sequence[str], login: KafkaLogin) -> str | None:
    """Asks each broker once; answers who refuses us, why, and what to do. None: the login is taken, or nobody is there
    to judge it.
    """
    for host, port, _ in collect_hosts(list(brokers)):
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                said = await _said(host, port, login)
        except (OSError, TimeoutError, KafkaError):
            continue
        return f"the broker at {host}:{port} {said}" if said else None
    return None


async def _said(host: str, port: int, login: KafkaLogin) -> str | None:
    """Raises: OSError, KafkaError: it is away."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.close()
    del reader
    certificate = f", or a certificate ({PREFIX}SSL_CERT_FILE)" if login.encrypted and not login.ssl_cert_file else ""
    other = f"does it want another {PREFIX}SECURITY_PROTOCOL than {login.security_protocol}{certificate}?"
    try:
        connection = await create_conn(host, port, client_id="runtide-login", **login.arguments())
    except _REFUSALS as error:
        return (
            f"refuses the login of {login.sasl_username!r} by {login.sasl_mechanism}: {_reason(error)}; set "
            f"{PREFIX}SASL_USERNAME, _PASSWORD and _MECHANISM to those of a user that it knows"
        )
    except ssl.SSLCertVerificationError as error:
        return f"shows a certificate that we do not trust: {error.verify_message}; set {PREFIX}SSL_CA_FILE to its CA's"
    except (ssl.SSLError, ConnectionError, KafkaError) as error:
        return f"ends the connection as we greet it ({_reason(error)}); {other}"
    try:
        await connection.send(MetadataRequest([]))
    except (ssl.SSLError, ConnectionError, KafkaError) as error:
        return f"ends the connection at our first question ({_reason(error)}); {other}"
    finally:
        connection.close()
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, UnsupportedSaslMechanismError):
        return "it does not offer this mechanism"
    return str(error) or type(error).__name__
