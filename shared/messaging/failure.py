"""What a failed batch means: try again in place, or find the one record that can never work."""

from __future__ import annotations

from typing import Literal

from aiokafka.errors import KafkaError
from runtide_schemas.refusal import refusal

from shared.errors import TransientError
from shared.postgres import is_transient
from shared.settings import KafkaSettings


def verdict(error: BaseException) -> Literal["retry", "data"]:
    """`retry` for trouble of the world, `data` for what the same bytes would cause again."""
    if isinstance(error, TransientError | KafkaError) or is_transient(error):
        return "retry"
    return "data"


def reason_of(error: BaseException) -> str:
    """One line for a dead letter: the class and what it said."""
    lines = str(error).strip().splitlines()
    name, said = type(error).__name__, lines[0] if lines else "no message"
    return (said if said.startswith(f"{name}: ") else f"{name}: {said}")[:2000]


async def why_away(settings: KafkaSettings, error: BaseException) -> str:
    """What to say of a Kafka that could not be reached: who refuses our login and why, else the error."""
    return await refusal(settings.brokers, settings.login()) or reason_of(error)
