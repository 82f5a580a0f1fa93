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


def process(proc: Path, pid: int, *, parent: int = 1, session: int = 1, pages: int = 0, pss: int | None = None) -> None:
    """A process as the kernel shows it; `pages` resident, `pss` in kibibytes."""
    (proc / str(pid)).mkdir()
    fields = ["S", str(parent), "1", str(session), *["0"] * 17, str(pages)]
    (proc / str(pid) / "stat").write_text(f"{pid} (a) b) {' '.join(fields)}")
    if pss is not None:
        (proc / str(pid) / "smaps_rollup").write_text(f"0-1 ---p [rollup]\nRss:  999999 kB\nPss:  {pss} kB\n")


def test_memory_is_the_share_of_each_process_of_the_session(tmp_path: Path) -> None:
    process(tmp_path, 10, session=10, pss=2048)
    process(tmp_path, 11, session=10, pss=1024)
    process(tmp_path, 12, parent=10, session=12, pss=512)
    process(tmp_path, 99, session=99, pss=4096)
    memory = processes.memory_of(10, proc=tmp_path)
    assert memory is not None
    assert (memory.mebibytes, str(memory)) == (3.5, "4 MiB")
    assert "divided among" in memory.in_words
    assert processes.memory_of(50, proc=tmp_path) is None


def test_memory_says_so_where_the_kernel_does_not_divide_shared_pages(tmp_path: Path) -> None:
    process(tmp_path, 10, session=10, pss=1024)
    process(tmp_path, 11, session=10, pages=2**20 // os.sysconf("SC_PAGE_SIZE"))
    memory = processes.memory_of(10, proc=tmp_path)
    assert memory is not None
    assert (memory.mebibytes, memory.proportional) == (2.0, False)
    assert "counted by each" in memory.in_words


def test_memory_of_a_real_process_is_known(spawn) -> None:
    assert processes.memory_of(spawn("import time; time.sleep(60)").pid)


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
