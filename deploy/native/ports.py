"""Ports: the well-known one if it is free, else any free one; once picked, kept for the next start."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

# Below the range the kernel gives to outgoing connections, so that none takes a picked port before its server binds.
FREE_RANGE = range(20_000, 32_000)

PREFERRED: Mapping[str, int] = {
    "postgres": 5432,
    "kafka": 9092,
    "kafka_controller": 9093,
    "s3": 8333,
    "s3_grpc": 18333,
    "s3_master": 9333,
    "s3_master_grpc": 19333,
    "s3_volume": 9340,
    "s3_volume_grpc": 19340,
    "s3_filer": 8888,
    "s3_filer_grpc": 18888,
    "s3_admin": 23646,
    "s3_admin_grpc": 33646,
    "prefect": 4200,
    "realtime": 8000,
    "realtime_internal": 9000,
    "submission": 8101,
    "run_tracker": 8102,
    "lineage": 8103,
    "notifier": 8104,
}


def is_free(port: int) -> bool:
    """Whether a server could listen there now, on loopback and on all interfaces."""
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def pick(
    remembered: Mapping[str, int], *, in_use: frozenset[str], preferred: Mapping[str, int] = PREFERRED,
    free: Callable[[int], bool] = is_free, use_preferred: bool = True, seed: int | None = None,
) -> dict[str, int]:  # fmt: skip
    """A port for every name. Names `in_use` (their process runs) keep theirs unasked."""
    chosen = {name: remembered[name] for name in preferred if name in in_use and name in remembered}
    rng = random.Random(seed)
    for name, wish in preferred.items():
        if name in chosen:
            continue
        wishes = [remembered[name]] if name in remembered else []
        wishes += [wish] if use_preferred else []
        taken = set(chosen.values())
        found = next((port for port in wishes if port not in taken and free(port)), None)
        chosen[name] = found if found is not None else any_free(taken, free=free, rng=rng)
    return {name: chosen[name] for name in preferred}


def any_free(
    taken: Collection[int] = (), *, free: Callable[[int], bool] = is_free, rng: random.Random | None = None
) -> int:
    """A port that no connection gets by itself, and that nobody listens on now. Raises: RuntimeError."""
    rng = rng or random.Random()
    for _ in range(2_000):
        port = rng.choice(FREE_RANGE)
        if port not in taken and free(port):
            return port
    raise RuntimeError(f"no free port between {FREE_RANGE.start} and {FREE_RANGE.stop}")


def load(path: Path) -> dict[str, int]:
    try:
        return {str(name): int(port) for name, port in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def save(path: Path, ports: Mapping[str, int]) -> None:
    path.write_text(json.dumps(dict(ports), indent=1) + "\n", encoding="utf-8")
