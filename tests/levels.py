"""`make test`: every level on the real parts, and at the end what ran against what, and how long.

A level that runs no test, skips one or fails one fails the whole. The stack is the tests' own, beside a developer's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.native import bootstrap, tools

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".runtide" / "test"
REPORTS = ROOT / ".runtide" / "test-reports"
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


@dataclass(frozen=True, slots=True)
class Level:
    """One level: what runs, against which real parts, and how it is counted."""

    name: str
    against: str
    command: Callable[[], list[str]]
    cwd: Path = ROOT
    counted: bool = True  # by a JUnit report


def _pytest(*paths: str) -> Callable[[], list[str]]:
    return lambda: [*PYTEST, *paths]


def _examples() -> list[str]:
    return [str(bootstrap.prefect()), "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/tests"]


def _go() -> list[str]:
    return [str(tools.go()), "test", "./..."]


def _npm(*words: str) -> Callable[[], list[str]]:
    return lambda: [*map(str, tools.npm_with_modules()[0]), *words]


LEVELS = (
    Level("unit", "nothing but Python", _pytest("tests/unit")),
    Level("examples", "the example flows' computations in Prefect's environment", _examples),
    Level("realtime", "Go", _go, ROOT / "deploy" / "realtime", counted=False),
    Level("page-types", "Node", _npm("run", "--silent", "check"), ROOT / "dashboard", counted=False),
    Level("dashboard", "Node", _npm("test", "--silent"), ROOT / "dashboard", counted=False),
    Level("component", "one service on Kafka, PostgreSQL, Prefect, realtime node", _pytest("tests/component")),
    Level("integration", "realtime node, S3", _pytest("tests/integration")),
    Level("e2e", "the whole stack by Kafka, HTTP and WebSocket", _pytest("tests/e2e")),
    Level("browser", "the whole stack in Chromium", _pytest("tests/browser")),
)
NEEDS_STACK = ("component", "integration", "e2e", "browser")


@dataclass(frozen=True, slots=True)
class Outcome:
    level: Level
    seconds: float
    passed: int
    failed: int
    skipped: int
    code: int

    @property
    def good(self) -> bool:
        return self.code == 0 and not self.failed and not self.skipped and (self.passed > 0 or not self.level.counted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("levels", nargs="*", choices=[[], *(level.name for level in LEVELS)], help="some levels only")
    wanted = parser.parse_args().levels or [level.name for level in LEVELS]
    REPORTS.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ)
    ours = any(name in wanted for name in NEEDS_STACK) and "RUNTIDE_KAFKA_BOOTSTRAP" not in env
    if ours:
        _stack_up()
        env |= {"RUNTIDE_TEST_STATE_DIR": str(STATE), "RUNTIDE_TEST_STACK": "native"}
    try:
        outcomes = [_run(level, env) for level in LEVELS if level.name in wanted]
    finally:
        if ours:
            _native("down")
    return _report(outcomes)


def _native(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "deploy.native", "--state-dir", str(STATE), *arguments], cwd=ROOT, check=True)


def _stack_up() -> None:
    """A fresh one, whole; later `up`s of single parts find the others running."""
    _native("reset")
    _native("up")


def _run(level: Level, env: Mapping[str, str]) -> Outcome:
    print(f"\n== {level.name}: {level.against}", flush=True)
    report = REPORTS / f"{level.name}.xml"
    report.unlink(missing_ok=True)
    command = level.command() + ([f"--junit-xml={report}"] if level.counted else [])
    began = time.monotonic()
    code = subprocess.run(command, cwd=level.cwd, env=bootstrap.tool_environment() | dict(env), check=False).returncode
    seconds = time.monotonic() - began
    passed, failed, skipped = _counts(report) if report.exists() else (0, int(code != 0), 0)
    return Outcome(level, seconds, passed, failed, skipped, code)


def _counts(report: Path) -> tuple[int, int, int]:
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    total = failed = skipped = 0
    for suite in suites:
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return total - failed - skipped, failed, skipped


def _report(outcomes: list[Outcome]) -> int:
    print("\nlevel        passed failed skipped seconds  against")
    for outcome in outcomes:
        passed = outcome.passed if outcome.level.counted else ("ok" if outcome.code == 0 else "-")
        print(
            f"{outcome.level.name:<12} {passed:>6} {outcome.failed:>6} {outcome.skipped:>7} {outcome.seconds:>7.0f}  "
            f"{outcome.level.against}{'' if outcome.good else '   <-- not good'}"
        )
    print(f"\n{sum(o.passed for o in outcomes)} passed, {sum(o.failed for o in outcomes)} failed")
    return 0 if outcomes and all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
