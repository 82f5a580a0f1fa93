"""The one table of what runs: command, environment, readiness, needs, ports. Order comes from `needs` alone."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

from deploy.native import probes, realtime, setup, tools
from deploy.native.bootstrap import ROOT
from deploy.native.part import Part, Stack

SERVICES = ("submission", "run_tracker", "lineage", "notifier")
FLOWS = ROOT / "examples" / "quant" / "serve.py"
CALENDAR, CALENDAR_DAYS = "XNYS", 180  # synced by `up` where it is known for less


def _postgres(stack: Stack) -> list[str]:
    return [
        str(setup.postgres_home(stack.state) / "bin" / "postgres"), "-D", str(setup.postgres_data(stack.state)),
        "-p", str(stack.port("postgres")), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
    ]  # fmt: skip


def _kafka(stack: Stack) -> list[str]:
    return [*setup.java_command(archive=True), "kafka.Kafka", str(setup.kafka_properties(stack.state))]


def _s3(stack: Stack) -> list[str]:
    names = {
        "master.port": "s3_master", "master.port.grpc": "s3_master_grpc", "volume.port": "s3_volume",
        "volume.port.grpc": "s3_volume_grpc", "filer.port": "s3_filer", "filer.port.grpc": "s3_filer_grpc",
        "s3.port": "s3", "s3.port.grpc": "s3_grpc", "admin.port": "s3_admin", "admin.port.grpc": "s3_admin_grpc",
    }  # fmt: skip
    return [
        str(tools.weed()), "mini", f"-dir={stack.state.data / 's3'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-bucket={','.join(setup.BUCKETS)}", "-webdav=false", "-admin.ui=false", "-master.telemetry=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.localSocket={stack.state.sockets / 's3.sock'}",
        f"-filer.localSocket={stack.state.sockets / 'filer.sock'}",
        *(f"-{flag}={stack.port(port)}" for flag, port in names.items()),
    ]  # fmt: skip


def _s3_ready(stack: Stack) -> probes.Probe:
    buckets = [probes.http_ok(f"http://127.0.0.1:{stack.port('s3_filer')}/buckets/{name}/") for name in setup.BUCKETS]
    return probes.all_of(probes.http_ok(f"http://127.0.0.1:{stack.port('s3')}/", accept=(200, 403)), *buckets)


def _prefect_client_environment(stack: Stack) -> dict[str, str]:
    home, api = stack.state.data / "prefect", stack.env["RUNTIDE_PREFECT_API_URL"]
    return setup.prefect_settings() | {"PREFECT_HOME": str(home), "PREFECT_API_URL": api}


def _prefect_server_environment(stack: Stack) -> dict[str, str]:
    """In a database of its own on our server; in a file below PREFECT_HOME if the PostgreSQL is somebody else's."""
    env = _prefect_client_environment(stack)
    if "postgres" not in stack.external:
        server = stack.env["RUNTIDE_POSTGRES_DSN"].removeprefix("postgresql://").rpartition("/")[0]
        env["PREFECT_API_DATABASE_CONNECTION_URL"] = f"postgresql+asyncpg://{server}/prefect"
    return env


def _realtime_environment(stack: Stack) -> dict[str, str]:
    dashboards = {
        stack.env["RUNTIDE_DASHBOARD_URL"],
        f"http://localhost:{stack.port('notifier')}",
        "http://localhost:5173",
    }
    return {
        "CENTRIFUGO_HTTP_SERVER_ADDRESS": "127.0.0.1",
        "CENTRIFUGO_HTTP_SERVER_PORT": str(stack.port("realtime")),
        "CENTRIFUGO_HTTP_SERVER_INTERNAL_ADDRESS": "127.0.0.1",
        "CENTRIFUGO_HTTP_SERVER_INTERNAL_PORT": str(stack.port("realtime_internal")),
        "CENTRIFUGO_CLIENT_ALLOWED_ORIGINS": " ".join(sorted(dashboards)),
        "CENTRIFUGO_HTTP_API_KEY": stack.env["RUNTIDE_CENTRIFUGO_API_KEY"],
        "CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY": stack.env["RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY"],
    }


def _python(*words: str) -> Callable[[Stack], list[str]]:
    return lambda _: [str(tools.services_python()), *words]


def _service(name: str) -> Part:
    return Part(
        name=name,
        group="services",
        needs=("packages", "prepare", *(("dashboard",) if name == "notifier" else ())),
        command=_python("-m", f"services.{name}", "run"),
        environment=lambda stack: {
            **stack.env,
            f"{name.upper()}_HTTP_HOST": "127.0.0.1",
            f"{name.upper()}_INSTANCE_ID": f"{name}-1",
        },
        ready=lambda stack: probes.http_ok(f"http://127.0.0.1:{stack.port(name)}/readyz"),
        ports=(name,),
        stop_seconds=30,
        exists=lambda: (ROOT / "services" / name / "__main__.py").exists(),
    )


def _job(name: str, *words: str, needs: tuple[str, ...]) -> Part:
    return Part(
        name=name, group="services", once=True, needs=("packages", *needs), command=_python(*words),
        environment=lambda stack: dict(stack.env),
    )  # fmt: skip


def _calendar_known(stack: Stack) -> probes.Probe:
    """Whoever brings lineage brings its calendars."""
    if "lineage" in stack.external:
        return probes.yes
    return probes.calendar_known(
        stack.env["RUNTIDE_LINEAGE_URL"], CALENDAR, stack.env["RUNTIDE_TOKEN"], days=CALENDAR_DAYS
    )


PARTS: tuple[Part, ...] = (
    Part(
        name="postgres",
        group="infra",
        needs=("tools",),
        command=_postgres,
        prepare=setup.prepare_postgres,
        finish=setup.create_databases,
        ready=setup.postgres_ready,
        ports=("postgres",),
        unprivileged=True,
        stop_signal=signal.SIGINT,  # "fast": does not wait for clients to leave
        likely=(
            (r"could not bind|Address already in use", "another server has the port: `make down`, or free it"),
            (r"No space left|could not resize shared memory", "the disk or /dev/shm is full"),
            (r"[Ii]nvalid permissions|Permission denied", "the data directory changed its owner: `make reset`"),
            (r"incompatible with server|not compatible", "the data is of another PostgreSQL version: `make reset`"),
        ),
    ),
    Part(
        name="kafka",
        group="infra",
        needs=("tools", "jars"),
        command=_kafka,
        prepare=setup.prepare_kafka,
        ready=lambda stack: probes.kafka_answers(stack.port("kafka")),
        ports=("kafka", "kafka_controller"),
        stop_seconds=40,  # the first stop also writes the archive of classes
        likely=(
            (r"BindException|Address already in use", "another server has the port: `make down`, or free it"),
            (r"OutOfMemoryError|Cannot allocate memory", "too little memory for the JVM"),
            (r"Lock|lock.*held", "another broker uses the same data directory"),
            (r"No space left", "the disk is full"),
        ),
    ),
    Part(
        name="s3",
        group="infra",
        needs=("tools",),
        command=_s3,
        prepare=setup.prepare_s3,
        environment=lambda stack: {
            "AWS_ACCESS_KEY_ID": stack.env["RUNTIDE_S3_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": stack.env["RUNTIDE_S3_SECRET_KEY"],
            "TMPDIR": str(stack.state.sockets),
        },
        ready=_s3_ready,
        ports=(
            "s3",
            "s3_grpc",
            "s3_master",
            "s3_master_grpc",
            "s3_volume",
            "s3_volume_grpc",
            "s3_filer",
            "s3_filer_grpc",
            "s3_admin",
            "s3_admin_grpc",
        ),
        likely=(
            (r"address already in use", "another server has the port"),
            (r"no space left|no free volumes", "the disk is full"),
        ),
    ),
    Part(
        name="prefect",
        group="infra",
        needs=("orchestrator", "postgres"),
        command=lambda stack: [
            str(tools.prefect_python()),
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(stack.port("prefect")),
        ],
        environment=_prefect_server_environment,
        ready=lambda stack: probes.http_ok(f"http://127.0.0.1:{stack.port('prefect')}/api/ready"),
        ports=("prefect",),
        start_seconds=300,
        likely=(
            (
                r"min_items|ImportError",
                "the environment's pins do not fit each other: `make lock` changed prefect.txt?",
            ),
            (r"ConnectionRefused|Connect call failed", "its database does not answer: `make logs PART=postgres`"),
            (r"[Aa]ddress already in use", "another server has the port"),
        ),
    ),
    Part(
        name="realtime",
        group="infra",
        needs=("realtime_node",),
        command=lambda _: [str(tools.realtime_binary()), "-c", str(ROOT / "deploy" / "centrifugo" / "config.json")],
        environment=_realtime_environment,
        ready=lambda stack: probes.http_ok(f"http://127.0.0.1:{stack.port('realtime_internal')}/health"),
        ports=("realtime", "realtime_internal"),
        exists=lambda: bool(tools.own_realtime()) or (realtime.SOURCES / "go.mod").exists(),
        likely=((r"unknown (key|var|field)", "deploy/centrifugo/config.json holds a key this server does not know"),),
    ),
    _job("prepare", "-m", "shared.prepare", *SERVICES, needs=("kafka", "postgres")),
    *(_service(name) for name in SERVICES),
    Part(
        name="calendars",  # what the example platform counts its sessions in; pandas is where the flows are
        group="examples",
        needs=("orchestrator", "lineage"),
        command=lambda _: [str(tools.prefect_python()), "-m", "runtide.cli", "calendars", "sync", CALENDAR],
        environment=lambda stack: dict(stack.env),
        ready=_calendar_known,
        once=True,
        exists=FLOWS.exists,
    ),
    Part(
        name="flows",
        group="examples",
        needs=("orchestrator", "prefect", "s3", "kafka"),
        command=lambda _: [str(tools.prefect_python()), "-m", "examples.quant.serve"],
        environment=lambda stack: {**stack.env, **_prefect_client_environment(stack)},
        ready=lambda stack: probes.prefect_serves(stack.env["RUNTIDE_PREFECT_API_URL"]),
        stop_seconds=15,
        start_seconds=300,
        exists=FLOWS.exists,
    ),
)
BY_NAME: Mapping[str, Part] = {part.name: part for part in PARTS}
