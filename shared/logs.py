"""Structured logs: one JSON object a line, or coloured lines for a person; never a secret, never a payload."""

from __future__ import annotations

import logging
import sys
from typing import Any, cast

import structlog

Log = structlog.stdlib.BoundLogger


def configure(*, service: str, fmt: str = "json", level: str = "INFO") -> Log:
    """Set logging of the whole process up, and return the service's logger."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: Any = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # the rich one prints locals: payloads and secrets
        )
        if fmt == "console"
        else structlog.processors.JSONRenderer()
    )
    final: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if fmt != "console":
        final.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*final, renderer]))
    handler.addFilter(_AtMost(per_second=5))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("aiokafka", "httpx", "httpcore", "uvicorn", "faststream", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return cast("Log", structlog.get_logger(service).bind(service=service))


class _AtMost(logging.Filter):
    """Let a library say the same thing a few times a second; aiokafka says it 90 times while Kafka is away."""

    def __init__(self, per_second: int) -> None:
        super().__init__()
        self._per_second = per_second
        self._seen: dict[tuple[str, int], tuple[int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        second, where = int(record.created), (record.name, record.lineno)
        last, count = self._seen.get(where, (second, 0))
        count = count + 1 if last == second else 1
        self._seen[where] = (second, count)
        return count <= self._per_second
