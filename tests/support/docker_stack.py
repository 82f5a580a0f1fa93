"""The stack in containers, by testcontainers: `RUNTIDE_TEST_STACK=docker`. Imported only then.

Every part has a fixed free port of this machine, so that its address outlives a stop and a start.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import SecretStr
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy, WaitStrategy

from deploy.native.ports import any_free
from shared.auth import mint
from shared.settings import AuthSettings

ROOT = Path(__file__).resolve().parent.parent.parent
LOOPBACK = "127.0.0.1"


class DockerStack:
    """PostgreSQL, Kafka, SeaweedFS, Prefect and Centrifugo."""

    def __init__(self) -> None:
        self.env: dict[str, str] = {}
        self._network = Network()
        self._parts: dict[str, DockerContainer] = {}

    def __enter__(self) -> Self:
        self._network.create()
        try:
            for begin in (self._postgres, self._kafka, self._s3, self._prefect, self._realtime):
                begin()
        except BaseException:
            self.__exit__()
            raise
        key = secrets.token_hex(32)
        auth = AuthSettings(hmac_keys=SecretStr(key))
        self.env |= {"RUNTIDE_AUTH_HMAC_KEYS": key, "RUNTIDE_TENANT": "acme"}
        for name, tenant in (("RUNTIDE_TOKEN", "acme"), ("RUNTIDE_TOKEN_OTHER", "globex")):
            self.env[name] = mint(auth, tenant=tenant, actor=f"dev@{tenant}", valid=timedelta(days=1))
        return self

    def __exit__(self, *_: object) -> None:
        for container in reversed(self._parts.values()):
            container.stop()
        self._network.remove()

    async def stop(self, part: str) -> None:
        await asyncio.to_thread(self._parts[part].get_wrapped_container().stop)

    async def start(self, part: str) -> None:
        await asyncio.to_thread(self._parts[part].get_wrapped_container().start)

    async def restart(self, part: str) -> None:
        await self.stop(part)
        await self.start(part)

    # -- parts ---------------------------------------------------------------------------------------------------

    def _run(
        self, part: str, image: str, *, ports: dict[int, int], ready: WaitStrategy, command: str = "",
        env: dict[str, str], volume: tuple[Path, str] | None = None,
    ) -> DockerContainer:  # fmt: skip
        container = DockerContainer(image, network=self._network, network_aliases=[part]).with_envs(**env)
        for inside, port in ports.items():
            container.with_bind_ports(inside, port)
        if command:
            container.with_command(command)
        if volume is not None:
            container.with_volume_mapping(str(volume[0]), volume[1], "ro")
        self._parts[part] = container.waiting_for(ready.with_startup_timeout(120))
        return container.start()

    def _postgres(self) -> None:
        port, password = any_free(), secrets.token_hex(16)
        container = self._run(
            "postgres", "postgres:18", ports={5432: port},
            env={"POSTGRES_USER": "runtide", "POSTGRES_PASSWORD": password, "POSTGRES_DB": "runtide"},
            ready=LogMessageWaitStrategy("database system is ready to accept connections", times=2),
        )  # fmt: skip
        code, said = container.exec(["createdb", "-U", "runtide", "prefect"])
        assert code == 0, said
        self._inside = f"postgresql+asyncpg://runtide:{password}@postgres:5432/prefect"
        self.env["RUNTIDE_POSTGRES_DSN"] = f"postgresql://runtide:{password}@{LOOPBACK}:{port}/runtide"

    def _kafka(self) -> None:
        port = any_free()
        lines = (ROOT / "deploy" / "kafka" / "server.properties").read_text(encoding="utf-8").splitlines()
        pairs = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        env = {"KAFKA_" + name.replace(".", "_").upper(): value for name, value in pairs.items()}
        env |= {
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{LOOPBACK}:{port}",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        }
        self._run("kafka", "apache/kafka:4.3.1", ports={9092: port}, env=env,
                  ready=LogMessageWaitStrategy("Kafka Server started"))  # fmt: skip
        self.env["RUNTIDE_KAFKA_BOOTSTRAP"] = f"{LOOPBACK}:{port}"

    def _s3(self) -> None:
        port, access, secret = any_free(), "runtide", secrets.token_hex(16)
        self._run(
            "s3", "chrislusf/seaweedfs:4.48", ports={8333: port}, command="mini -dir=/data -bucket=runs,logs",
            env={"AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret},
            ready=HttpWaitStrategy(8333).for_status_code_matching(lambda code: code in (200, 403)),
        )  # fmt: skip
        self.env |= {
            "RUNTIDE_S3_ENDPOINT": f"http://{LOOPBACK}:{port}",
            "RUNTIDE_S3_ACCESS_KEY": access,
            "RUNTIDE_S3_SECRET_KEY": secret,
        }

    def _prefect(self) -> None:
        port = any_free()
        self._run(
            "prefect", "prefecthq/prefect:3-latest", ports={4200: port},
            command="prefect server start --host 0.0.0.0",
            env={"PREFECT_API_DATABASE_CONNECTION_URL": self._inside, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
            ready=HttpWaitStrategy(4200, "/api/health"),
        )  # fmt: skip
        self.env["RUNTIDE_PREFECT_API_URL"] = self.env["PREFECT_API_URL"] = f"http://{LOOPBACK}:{port}/api"

    def _realtime(self) -> None:
        port, internal = any_free(), any_free()
        api_key, token_key = secrets.token_hex(32), secrets.token_hex(32)
        self._run(
            "realtime", "centrifugo/centrifugo:v6", ports={8000: port, 9000: internal},
            command="centrifugo -c /centrifugo/config.json", volume=(ROOT / "deploy" / "centrifugo", "/centrifugo"),
            env={"CENTRIFUGO_HTTP_API_KEY": api_key, "CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY": token_key},
            ready=HttpWaitStrategy(9000, "/health"),
        )  # fmt: skip
        self.env |= {
            "RUNTIDE_CENTRIFUGO_API_URL": f"http://{LOOPBACK}:{internal}",
            "RUNTIDE_CENTRIFUGO_API_KEY": api_key,
            "RUNTIDE_CENTRIFUGO_WS_URL": f"ws://{LOOPBACK}:{port}/connection/websocket",
            "RUNTIDE_CENTRIFUGO_TOKEN_HMAC_KEY": token_key,
        }
