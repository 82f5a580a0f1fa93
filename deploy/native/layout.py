"""Where the stack keeps its things: one state directory per stack, everything it writes below it."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from deploy.native.bootstrap import ROOT

STATE_NAME = ".runtide"


@dataclass(frozen=True, slots=True)
class State:
    """The files of one stack. `make reset` removes them; nothing else in the tree is touched."""

    directory: Path

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def run(self) -> Path:
        """One file per running process."""
        return self.directory / "run"

    @property
    def ports_file(self) -> Path:
        return self.directory / "ports.json"

    @property
    def secrets_file(self) -> Path:
        return self.directory / "secrets"

    @property
    def env_file(self) -> Path:
        return self.directory / "stack.env"

    @property
    def lock_file(self) -> Path:
        return self.directory / "lock"

    @property
    def is_default(self) -> bool:
        return self.directory == ROOT / STATE_NAME

    @property
    def unprivileged_home(self) -> Path:
        """For what must not run as root, where another user can reach it: used only if this directory cannot be."""
        name = hashlib.sha256(str(self.directory).encode()).hexdigest()[:12]
        return Path("/var/lib/runtide") / f"stack-{name}"

    @property
    def sockets(self) -> Path:
        """Unix sockets: in a short place, for the kernel allows about 100 characters, and one per user."""
        stack = self.unprivileged_home.name.removeprefix("stack-")
        return Path(tempfile.gettempdir()) / f"runtide-{os.getuid()}-{stack}"

    def create(self) -> None:
        for directory in (self.directory, self.logs, self.data, self.run):
            directory.mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        """Everything this stack ever wrote."""
        for directory in (self.logs, self.data, self.run, self.sockets, self.unprivileged_home):
            shutil.rmtree(directory, ignore_errors=True)
        for file in (self.ports_file, self.secrets_file, self.env_file):
            file.unlink(missing_ok=True)


def state_at(directory: str | None) -> State:
    return State(Path(directory).expanduser().resolve() if directory else ROOT / STATE_NAME)


def unprivileged_user() -> pwd.struct_passwd | None:
    """Whom a server that refuses to be root becomes; None when we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("running as root, and there is neither a user 'postgres' nor 'nobody' to drop to")


def reachable_by_all(path: Path) -> bool:
    """Whether any user may walk to `path`: each directory above it has its x bit for others."""
    return all(parent.stat().st_mode & 0o001 for parent in [path, *path.parents] if parent.is_dir())


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, in one step."""
    building = path.with_name(f".{path.name}.{os.getpid()}")
    building.unlink(missing_ok=True)
    building.touch(mode=0o600)
    building.write_text(text, encoding="utf-8")
    building.replace(path)
