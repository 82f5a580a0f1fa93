"""Python environments from pinned requirements, with the standard library alone.

Run by whatever Python 3.11+ the machine has: `python3 deploy/native/bootstrap.py dev`. Everything fetched lives outside
the tree in `${RUNTIDE_CACHE:-~/.cache/runtide}`; only `.venv` is in it. An environment whose requirement files did not
change is left alone.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

_uv_lock = threading.Lock()


class BootstrapFailed(Exception):
    """A tool that prepares an environment ended with an error; the text ends with what it printed."""


def cache_dir() -> Path:
    """Where everything fetched or built once is kept."""
    return Path(os.environ.get("RUNTIDE_CACHE") or Path.home() / ".cache" / "runtide").expanduser().resolve()


def digest_of(paths: Iterable[Path]) -> str:
    """One short digest of the content of some files; a missing file counts as empty."""
    digest = hashlib.sha256(f"python{sys.version_info.major}.{sys.version_info.minor}".encode())
    for path in paths:
        digest.update(path.name.encode() + b"\0")
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()[:12]


def tool_environment() -> dict[str, str]:
    """The caller's environment, completed: system certificates, and pip's indexes for uv, which reads its own names."""
    env = dict(os.environ)
    if SYSTEM_CERTIFICATES.exists():
        for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
            env.setdefault(name, str(SYSTEM_CERTIFICATES))
    pip = _pip_configuration()
    for pip_name, uv_name in (
        ("index-url", "UV_DEFAULT_INDEX"),
        ("extra-index-url", "UV_INDEX"),
        ("find-links", "UV_FIND_LINKS"),
    ):
        value = env.get("PIP_" + pip_name.upper().replace("-", "_")) or pip.get(pip_name)
        if value and not (uv_name == "UV_DEFAULT_INDEX" and "UV_INDEX_URL" in env):
            env.setdefault(uv_name, value if uv_name != "UV_FIND_LINKS" else ",".join(value.split()))
    env.setdefault("UV_HTTP_TIMEOUT", "180")
    env["UV_NO_PROGRESS"] = "1"
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"):
        env.pop(name, None)
    return env


def _pip_configuration() -> dict[str, str]:
    """The [global] section of pip's own configuration files; later files win, as for pip."""
    parser = configparser.RawConfigParser()
    home = Path.home()
    named = os.environ.get("PIP_CONFIG_FILE")
    parser.read(
        [
            Path("/etc/pip.conf"),
            home / ".pip" / "pip.conf",
            home / ".config" / "pip" / "pip.conf",
            *([named] if named else []),
        ]
    )
    return dict(parser["global"]) if parser.has_section("global") else {}


def run(command: Sequence[str | Path], *, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env or tool_environment(), text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise BootstrapFailed(f"{' '.join(str(word) for word in command[:6])} … ended with {done.returncode}\n{tail}")
    return done.stdout


def uv() -> Path:
    """The pinned uv of requirements/native.txt, installed by pip into the cache."""
    with _uv_lock:
        pin = _pin_of("uv", (REQUIREMENTS / "native.txt").read_text(encoding="utf-8"))
        target = cache_dir() / f"uv-{hashlib.sha256(pin.encode()).hexdigest()[:12]}"
        binary = target / "bin" / "uv"
        if not binary.exists():
            building = target.with_name(f"{target.name}.{os.getpid()}")
            building.mkdir(parents=True, exist_ok=True)
            wanted = building / "uv.txt"
            wanted.write_text(pin, encoding="utf-8")
            run(
                [
                    sys.executable,
                    "-m",
                    "pip",
                    "install",
                    "-q",
                    "--no-input",
                    "--require-hashes",
                    "-r",
                    wanted,
                    "--target",
                    building,
                ]
            )
            adopt(building, target)
        return binary


def _pin_of(package: str, requirements: str) -> str:
    """The lines of one package in a compiled requirements file."""
    lines = requirements.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"{package}=="))
    block = [lines[start]]
    for line in lines[start + 1 :]:
        if not line.startswith((" ", "\t")):
            break
        if not line.strip().startswith("#"):
            block.append(line)
    return "\n".join(block).rstrip(" \\") + "\n"


def adopt(building: Path, target: Path) -> None:
    """Move what was built beside to its place; whoever else was quicker wins."""
    try:
        building.rename(target)
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(building, ignore_errors=True)


def python_of(environment: Path) -> Path:
    return environment / "bin" / "python"


def usable(program: Path) -> bool:
    """Whether we may run it; False also where we may not even look."""
    return os.access(program, os.X_OK)


def ensure(environment: Path, requirements: Path, editable: Sequence[Path] = ()) -> Path:
    """The Python of an environment with exactly these pins, hashes checked, and our own packages as they lie here."""
    stamp_file = environment / ".runtide-stamp.json"
    stamp = digest_of([requirements, *(path / "pyproject.toml" for path in editable)])
    stamps = _stamps(stamp_file)
    works = usable(python_of(environment))
    superset = "dev.txt" if requirements.name == "services.txt" else requirements.name
    if works and stamp == stamps.get(requirements.name):
        return python_of(environment)
    if works and superset in stamps and stamps[superset] == digest_of(
        [REQUIREMENTS / superset, *(path / "pyproject.toml" for path in editable)]
    ):  # fmt: skip
        return python_of(environment)
    tool = uv()
    if not works:
        environment.parent.mkdir(parents=True, exist_ok=True)
        run([tool, "venv", "-q", "--clear", "--force", "--python", sys.executable, environment])
    install: list[str | Path] = [tool, "pip", "install", "-q", "--python", python_of(environment)]
    run([*install, "--require-hashes", "-r", requirements])
    if editable:
        run([*install, "--no-deps", "--no-build-isolation", *(word for path in editable for word in ("-e", str(path)))])
    stamps[requirements.name] = stamp
    stamp_file.write_text(json.dumps(stamps), encoding="utf-8")
    return python_of(environment)


def _stamps(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def services(requirements: str = "services.txt") -> Path:
    """`.venv`: what the services need, or with `dev.txt` also the tests and checks."""
    return ensure(ROOT / ".venv", REQUIREMENTS / requirements, (ROOT / "schemas", ROOT / "sdk", ROOT))


def native() -> Path:
    """The servers and tools of the stack: PostgreSQL, a JVM, SeaweedFS, Go, Node, jgo."""
    pins = REQUIREMENTS / "native.txt"
    return ensure(cache_dir() / f"native-{digest_of([pins])}", pins)


def prefect() -> Path:
    """Prefect and the example flows, apart from the services by design. One per checkout: it sees its SDK."""
    pins, packages = REQUIREMENTS / "prefect.txt", (ROOT / "schemas", ROOT / "sdk")
    here = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
    return ensure(cache_dir() / f"prefect-{digest_of([pins])}-{here}", pins, packages)


TARGETS = {
    "services": lambda: services("services.txt"),
    "dev": lambda: services("dev.txt"),
    "native": native,
    "prefect": prefect,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Create the Python environments of this checkout.")
    parser.add_argument("targets", nargs="+", choices=sorted(TARGETS), metavar="|".join(TARGETS))
    chosen = parser.parse_args(arguments).targets
    if sys.version_info < (3, 11):  # noqa: UP036 - run by whatever Python the machine has
        print(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]} ({sys.executable})", file=sys.stderr)
        return 1

    def prepare(target: str) -> str | None:
        started = time.monotonic()
        try:
            TARGETS[target]()
        except (BootstrapFailed, OSError) as error:
            return f"{target}: {error}"
        if time.monotonic() - started > 1:
            print(f"  {target:<12} installed  {time.monotonic() - started:5.1f} s", flush=True)
        return None

    with ThreadPoolExecutor(max_workers=2) as pool:
        problems = [problem for problem in pool.map(prepare, chosen) if problem]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
