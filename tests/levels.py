"""`make test`: every level on the real parts, and at the end what ran against what, and how long.

A level that runs no test, skips one or fails one fails the whole. The stack is the tests' own, beside a developer's.
Component tests mostly wait, each in a world of its own, so their two halves run at the same time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.native import bootstrap, environment, tools

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
    beside: str | None = None  # runs at the same time as the level of this name, which comes just before it


def _pytest(*paths: str) -> Callable[[], list[str]]:
    return lambda: [*PYTEST, *paths]


def _examples() -> list[str]:
    return [str(bootstrap.prefect()), "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/tests"]


def _go() -> list[str]:
    return [str(tools.go()), "test", "./..."]


def _npm(*words: str) -> Callable[[], list[str]]:
    return lambda: [*map(str, tools.npm_with_modules()[0]), *words]


def _but_lineage() -> list[str]:
    return [*PYTEST, "tests/component", f"--ignore={LINEAGE}"]


LINEAGE = "tests/component/lineage"
LEVELS = (
    Level("unit", "nothing but Python", _pytest("tests/unit")),
    Level("examples", "the example flows' computations in Prefect's environment", _examples),
    Level("realtime", "Go", _go, ROOT / "deploy" / "realtime", counted=False),
    Level("page-types", "Node", _npm("run", "--silent", "check"), ROOT / "dashboard", counted=False),
    Level("dashboard", "Node", _npm("test", "--silent"), ROOT / "dashboard", counted=False),
    Level("component", "one service on Kafka, PostgreSQL, Prefect, realtime node", _but_lineage),
    Level("lineage", "one service on Kafka, PostgreSQL", _pytest(LINEAGE), beside="component"),
    Level("integration", "realtime node, S3", _pytest("tests/integration")),
    Level("e2e", "the whole stack, asking for tokens, by Kafka, HTTP and WebSocket", _pytest("tests/e2e")),
    Level("browser", "the whole stack in Chromium", _pytest("tests/browser")),
    Level("chaos", "four services under load and faults of every neighbour", _pytest("tests/chaos")),
)
NEEDS_STACK = ("component", "lineage", "integration", "e2e", "browser", "chaos")


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
    ours = any(name in wanted for name in NEEDS_STACK) and "RUNTIDE_KAFKA_BOOTSTRAP" not in os.environ
    if ours:
        os.environ.pop(environment.COMMANDS_AUTH, None)  # asked of a developer's stack, not of the tests' own
    env = dict(os.environ)
    if ours:
        _stack_up()
        env |= {"RUNTIDE_TEST_STATE_DIR": str(STATE), "RUNTIDE_TEST_STACK": "native"}
    try:
        outcomes = [outcome for together in _groups(wanted) for outcome in _run_together(together, env)]
    finally:
        if ours:
            _native("down")
    return _report(outcomes)


def _native(*arguments: str, **more: str) -> None:
    command = [sys.executable, "-m", "deploy.native", "--state-dir", str(STATE), *arguments]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **more}, check=True)


def _stack_up() -> None:
    """A fresh one, whole, that asks for tokens; later `up`s of single parts find the others running and keep it so."""
    _native("reset")
    _native("up", **{environment.COMMANDS_AUTH: "token"})


def _groups(wanted: Collection[str]) -> list[list[Level]]:
    """In order; those that run at the same time together."""
    groups: list[list[Level]] = []
    for level in (level for level in LEVELS if level.name in wanted):
        if level.beside in wanted:
            groups[-1].append(level)
        else:
            groups.append([level])
    return groups


def _run_together(levels: Sequence[Level], env: Mapping[str, str]) -> list[Outcome]:
    """Each prints when its turn comes: the first at once, the others what they said meanwhile."""
    begun = [_Run(level, env, aloud=level is levels[0]) for level in levels]
    return [run.outcome() for run in begun]


class _Run:
    """One level that has begun."""

    def __init__(self, level: Level, env: Mapping[str, str], *, aloud: bool) -> None:
        if aloud:
            print(f"\n== {level.name}: {level.against}", flush=True)
        self._level, self._report = level, REPORTS / f"{level.name}.xml"
        self._report.unlink(missing_ok=True)
        self._log = None if aloud else REPORTS / f"{level.name}.log"
        command = level.command() + ([f"--junit-xml={self._report}"] if level.counted else [])
        output = self._log.open("wb") if self._log else None
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            command, cwd=level.cwd, env=bootstrap.tool_environment() | dict(env), stdout=output, stderr=output
        )
        self._ended = threading.Thread(target=self._wait)
        self._ended.start()

    def _wait(self) -> None:
        self._process.wait()
        self._seconds = time.monotonic() - self._began

    def outcome(self) -> Outcome:
        """Wait for its end."""
        self._ended.join()
        if self._log is not None:
            print(f"\n== {self._level.name}: {self._level.against}", flush=True)
            print(self._log.read_text(encoding="utf-8", errors="replace"), flush=True)
        code = self._process.returncode
        passed, failed, skipped = _counts(self._report) if self._report.exists() else (0, int(code != 0), 0)
        return Outcome(self._level, self._seconds, passed, failed, skipped, code)


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
