"""Processes that outlive the command that started them, known by pid *and* start time, so that no stranger is ended."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """A process we started, as its file in `run/` remembers it."""

    name: str
    pid: int
    started: str  # in the kernel's own terms; differs for a process that got the same pid later
    stop_signal: int
    command: tuple[str, ...]

    def save(self, directory: Path) -> None:
        (directory / f"{self.name}.json").write_text(json.dumps(asdict(self)), encoding="utf-8")

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started


def find(directory: Path, name: str) -> Running | None:
    """The process of that name, if it still runs."""
    try:
        known = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
        running = Running(known["name"], known["pid"], known["started"], known["stop_signal"], tuple(known["command"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return running if running.alive else None


def known_names(directory: Path) -> list[str]:
    return sorted(file.stem for file in directory.glob("*.json")) if directory.exists() else []


def start_time(pid: int) -> str | None:
    """When that process began; None if it is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self").exists() else _start_time_by_ps(pid)
    except (ProcessLookupError, PermissionError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def _start_time_by_ps(pid: int) -> str | None:
    seen = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return seen.stdout.strip() or None


def spawn(
    name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, stop_signal: int,
    user: pwd.struct_passwd | None = None,
) -> tuple[Running, subprocess.Popen[bytes]]:  # fmt: skip
    """Start a process in a group of its own, its output in `log`; the log of the time before is kept as `.1`."""
    if log.exists() and log.stat().st_size:
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True, user=user.pw_uid if user else None, group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )  # fmt: skip
    return Running(name, process.pid, start_time(process.pid) or "", stop_signal, tuple(command)), process


def leave(process: subprocess.Popen[bytes]) -> None:
    """Let go of a child that goes on without us: known by its record from now on, not by this object."""
    if process.poll() is None:
        process.returncode = 0


async def stop(running: Running, *, patience_seconds: float) -> bool:
    """Ask, wait, then end the group. True if it went by itself."""
    if not running.alive:
        return True
    _signal(running, running.stop_signal, group=False)
    gone = await _gone(running, patience_seconds)
    # A pid that is somebody's again had no session members left: nothing there is ours.
    if not gone or (start_time(running.pid) is None and _session_has_members(running.pid)):
        _signal(running, signal.SIGKILL, group=True)
    await _gone(running, 5)
    return gone


def _session_has_members(session: int) -> bool:
    """Whether a process that ended left others of its session; while they live, its pid is not given anew."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[3]) == session:
                return True
        except (OSError, ValueError, IndexError):
            continue
    return False


async def _gone(running: Running, seconds: float) -> bool:
    deadline = asyncio.get_running_loop().time() + seconds
    while running.alive:
        if asyncio.get_running_loop().time() > deadline:
            return False
        _reap(running.pid)
        await asyncio.sleep(0.05)
    return True


def _reap(pid: int) -> None:
    """Collect a child of this very process; one started by an earlier command is init's."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _signal(running: Running, number: int, *, group: bool) -> None:
    """Signal the process, or what is left of its group: the group's id is the pid of the process we started."""
    try:
        if group:
            os.killpg(running.pid, number)
        elif running.alive:
            os.kill(running.pid, number)
    except (ProcessLookupError, PermissionError):
        return


@dataclass(frozen=True, slots=True)
class Memory:
    """What processes hold. `proportional`: a page that several share is divided among them, so that sums are true;
    else (a kernel without `smaps_rollup`, processes of somebody else) it is counted by each.
    """

    mebibytes: float = 0.0
    proportional: bool = True

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.mebibytes + other.mebibytes, self.proportional and other.proportional)

    def __str__(self) -> str:
        return f"{self.mebibytes:.0f} MiB"

    @property
    def in_words(self) -> str:
        """The number, and how shared pages are counted in it."""
        return f"{self}, shared pages {'divided among' if self.proportional else 'counted by each of'} their sharers"


def memory_of(pid: int, *, proc: Path = Path("/proc")) -> Memory | None:
    """Memory of the process, its children and its session's other members, where the kernel tells."""
    total = Memory()
    for stat in proc.glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == pid or stat.parent.name == str(pid) or int(fields[1]) == pid:
                share = _proportional_kibibytes(stat.parent)
                resident = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
                total += Memory(resident, False) if share is None else Memory(share / 1024)
        except (OSError, ValueError, IndexError):
            continue
    return total if total.mebibytes else None


def _proportional_kibibytes(process: Path) -> int | None:
    try:
        for line in (process / "smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        return None
    return None
