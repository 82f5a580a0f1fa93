"""What the parts print: one file per part, and what its end means when the part did not come up."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from deploy.native import ports, processes
from deploy.native.layout import State
from deploy.native.part import Part, Stack

LOG_TAIL_LINES = 15


def log_of(part: Part, state: State) -> Path:
    return state.logs / f"{part.name}.log"


def tail(path: Path, lines: int) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - lines * 2_000))
        return file.read().decode(errors="replace").splitlines()[-lines:]


def explain(part: Part, stack: Stack, how: str) -> str:
    """Which part, its last lines, the likely cause."""
    log = log_of(part, stack.state)
    lines = tail(log, LOG_TAIL_LINES)
    seen = "\n".join(tail(log, 200))
    cause = next((meaning for pattern, meaning in part.likely if re.search(pattern, seen)), None)
    taken = [f"port {stack.port(name)} ({name})" for name in part.ports if not ports.is_free(stack.port(name))]
    if not cause and taken and processes.find(stack.state.run, part.name) is None:
        cause = f"{', '.join(taken)} is taken by another process"
    shown = "\n".join(f"    {line}" for line in lines) or "    (it logged nothing)"
    return f"{part.name} {how}. Its last lines ({log}):\n{shown}\n  likely cause: {cause or 'see its log above'}"


def follow(state: State, names: list[str], lines: int, on: bool) -> int:
    """Print the ends of logs, and with `on` what comes."""
    files = [file for name in names if (file := state.logs / f"{name}.log").exists()]
    if not files:
        return 1
    return subprocess.call(["tail", f"-n{lines}", *(["-F"] if on else []), *(str(file) for file in files)])
