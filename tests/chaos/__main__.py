"""`make chaos [SEED=…] [LONG=1]`: a chaos run on a stack of its own; the long form is kept in benchmarks/results."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".runtide" / "chaos"
KEPT = ROOT / "benchmarks" / "results" / "chaos.json"
os.environ |= {"RUNTIDE_TEST_STATE_DIR": str(STATE), "RUNTIDE_TEST_STACK": "native"}  # read by tests.conftest

from tests.chaos import report  # noqa: E402
from tests.chaos.storm import LONG, SHORT, Plan, Storm  # noqa: E402
from tests.conftest import NativeStack  # noqa: E402


def main() -> int:
    long = bool(os.environ.get("LONG"))
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it says ninety times a second that a broker is away
    _native("reset")
    _native("up", "--only", "infra")
    try:
        plan = Plan(seed=seed, **(LONG if long else SHORT) | _asked_for())
        result = asyncio.run(Storm(NativeStack(), STATE, plan, lambda line: print(line, flush=True)).run())
    finally:
        _native("down")
    print("\n".join(report.lines(result)))
    if long:
        KEPT.write_text(report.kept(plan, result), encoding="utf-8")
    return 0 if result.holds else 1


def _asked_for() -> dict[str, Any]:
    """What differs from the form: KINDS="power cut,kill -9", FAULTS=10, TOGETHER=0.5."""
    asked: dict[str, Any] = {}
    if kinds := os.environ.get("KINDS"):
        asked["kinds"] = tuple(kind.strip() for kind in kinds.split(","))
    if faults := os.environ.get("FAULTS"):
        asked["faults"] = int(faults)
    if together := os.environ.get("TOGETHER"):
        asked["together"] = float(together)
    return asked


def _native(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "deploy.native", "--state-dir", str(STATE), *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
