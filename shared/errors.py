"""The error tree of the services.

    RuntideError
    ├── TransientError              later may work: the batch is tried again in place
    │   ├── StoreUnavailable        PostgreSQL is away, or a lock or deadlock broke the transaction
    │   ├── BrokerUnavailable       Kafka is away
    │   ├── OrchestratorUnavailable Prefect is away, or answered 5xx
    │   ├── ObjectStoreUnavailable  S3 is away
    │   ├── PushUnavailable         Centrifugo is away, or refuses our key
    │   └── KeysUnavailable         the issuer's keys (JWKS) were never read
    └── PermanentError              never will work: dead letter, or an answer to the caller
        ├── InvalidMessage          the message is readable and says something impossible
        ├── DeploymentNotFound      Prefect has no deployment of that name
        ├── ParametersRejected      Prefect refuses these parameters for that deployment
        └── DataLost                Kafka no longer holds what this consumer has not read

The class chooses: retry in place (transient) or dead letter (permanent). Expected outcomes of the business are
return values, never exceptions. A message says what was got, what was allowed and what to do.
"""

from __future__ import annotations


class RuntideError(Exception):
    """Anything that Runtide itself raises."""


class TransientError(RuntideError):
    """Later may work."""


class StoreUnavailable(TransientError):
    """PostgreSQL is away, or gave the transaction up."""


class BrokerUnavailable(TransientError):
    """Kafka is away."""


class OrchestratorUnavailable(TransientError):
    """Prefect is away, or answered with a server error. `sent` False: the call certainly never reached it."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class ObjectStoreUnavailable(TransientError):
    """S3 is away."""


class PushUnavailable(TransientError):
    """Centrifugo is away, or refuses our key."""


class KeysUnavailable(TransientError):
    """The issuer of tokens has never told its keys: nobody of its can be judged."""


class PermanentError(RuntideError):
    """Never will work, however often it is tried."""


class InvalidMessage(PermanentError):
    """Readable, and says something impossible."""


class DeploymentNotFound(PermanentError):
    """Prefect has no deployment of that name."""


class ParametersRejected(PermanentError):
    """Prefect refuses these parameters for that deployment."""


class DataLost(PermanentError):
    """Kafka no longer holds what this consumer has not read yet."""
