"""Kafka's jars from Maven Central, by jgo: run with the Python of the native environment.

`jars.py fetch DIRECTORY` downloads what kafka.lock.toml names and compares each SHA-256; `jars.py lock` writes that
file anew. The `!` after a coordinate keeps one artifact's version management from changing the versions of another:
without it log4j's brings an old kafka-clients.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo.env import EnvironmentBuilder, LinkStrategy  # type: ignore[import-not-found]
from jgo.env._lockfile import LockedDependency, LockFile, compute_sha256  # type: ignore[import-not-found]
from jgo.maven import MavenContext  # type: ignore[import-not-found]

LOCK = Path(__file__).with_name("kafka.lock.toml")
COORDINATES = (
    "org.apache.kafka:kafka_2.13:4.3.1!",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.3!",
    "org.apache.logging.log4j:log4j-core:2.25.3!",
)


def lock() -> None:
    """Resolve the coordinates and write the lock file, without the entries that only jgo's own runner needs."""
    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch) / "repository")
        builder = EnvironmentBuilder(context=context, cache_dir=Path(scratch), link_strategy=LinkStrategy.HARD)
        environment = builder.from_endpoint("+".join(COORDINATES), main_class="kafka.Kafka")
        shutil.copyfile(environment.lock_path, LOCK)


def fetch(directory: Path) -> None:
    """Every locked jar in `directory`, each with the hash it was locked with."""
    context = MavenContext(repo_cache=directory.parent / "maven", timeout=60)
    directory.mkdir(parents=True, exist_ok=True)

    def get(locked: LockedDependency) -> None:
        artifact = context.project(locked.groupId, locked.artifactId).at_version(locked.version).artifact()
        found = Path(artifact.resolve())
        seen = compute_sha256(found)
        if seen != locked.sha256:
            found.unlink()
            raise SystemExit(f"{found.name}: sha256 is {seen}, the lock says {locked.sha256}")
        shutil.copyfile(found, directory / found.name)

    with ThreadPoolExecutor(max_workers=6) as pool:
        list(pool.map(get, LockFile.load(LOCK).dependencies))


if __name__ == "__main__":
    if sys.argv[1:] == ["lock"]:
        lock()
    else:
        fetch(Path(sys.argv[2]))
