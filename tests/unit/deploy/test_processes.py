from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.native import logs, processes
from deploy.native.layout import state_at
from deploy.native.parts import BY_NAME, Stack
from deploy.native.ports import PREFERRED

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


@pytest.fixture
def spawn(tmp_path: Path):
    """Start a Python program as a part; whatever is left is ended."""
    started = []

    def start(program: str) -> processes.Running:
        running, process = processes.spawn(
            "probe", [sys.executable, "-c", program], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "probe.log",
            stop_signal=signal.SIGTERM,
        )  # fmt: skip
        running.save(tmp_path)
        started.append(process)
        return running

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


async def test_a_started_process_is_found_and_a_stopped_one_is_not(spawn, tmp_path: Path) -> None:
    running = spawn("import time; time.sleep(60)")
    assert processes.find(tmp_path, "probe") == running
    assert await processes.stop(running, patience_seconds=5)
    assert processes.find(tmp_path, "probe") is None


async def test_a_process_that_ignores_the_request_is_killed(spawn, tmp_path: Path) -> None:
    running = spawn(STUBBORN)
    while "deaf" not in (tmp_path / "probe.log").read_text():
        os.sched_yield()
    assert not await processes.stop(running, patience_seconds=0.2)
    assert not running.alive


async def test_a_stranger_with_the_same_pid_is_left_alone(spawn) -> None:
    running = spawn("import time; time.sleep(60)")
    stranger = replace(running, started="another time")
    assert not stranger.alive
    await processes.stop(stranger, patience_seconds=0.1)
    assert running.alive


def test_a_broken_record_is_no_process(tmp_path: Path) -> None:
    (tmp_path / "probe.json").write_text("{")
    assert processes.find(tmp_path, "probe") is None


def test_a_failure_names_the_part_its_last_lines_and_the_likely_cause(tmp_path: Path) -> None:
    state = state_at(str(tmp_path))
    state.create()
    lines = [f"line {number}" for number in range(40)] + ["java.net.BindException: Address already in use"]
    (state.logs / "kafka.log").write_text("\n".join(lines))
    said = logs.explain(BY_NAME["kafka"], Stack(state, PREFERRED, {}, {}), "ended with 1")
    assert said.startswith("kafka ended with 1.")
    assert "line 26" in said
    assert "line 25" not in said
    assert "likely cause: another server has the port" in said
