"""Where the binary of the realtime node comes from: named by RUNTIDE_REALTIME_BIN, else built once per version of its
sources into the cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "realtime"
NAME = "runtide-realtime"


def build_realtime(go: Path, cache: Path) -> Path:
    """The binary built from deploy/realtime as it is now. Cold about a minute; found in `cache` when built before.

    Safe to call from several processes: a finished binary appears in one step.
    Raises: subprocess.CalledProcessError, with the compiler's words in `stderr`.
    """
    target = cache / "realtime" / digest_of_sources() / NAME
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    compiler = go.resolve()
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOROOT": str(compiler.parents[1])}
    with tempfile.TemporaryDirectory(dir=target.parent) as building:
        built = Path(building) / NAME
        flags = ["-trimpath", "-mod=readonly", "-buildvcs=false", "-ldflags=-s -w"]
        subprocess.run(
            [compiler, "build", *flags, "-o", built, "."],
            cwd=SOURCES, env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        built.replace(target)
    return target


def realtime_binary(go: Path | None, cache: Path) -> Path:
    """The binary the caller named, else ours. Raises: RuntimeError when there is neither a binary nor a compiler."""
    if named := os.environ.get("RUNTIDE_REALTIME_BIN"):
        return Path(named)
    if go is None:
        raise RuntimeError("the realtime node needs Go >= 1.26 to be built, or RUNTIDE_REALTIME_BIN to name its binary")
    return build_realtime(go, cache)


def digest_of_sources() -> str:
    """Of what the binary is made from; tests are not part of it."""
    digest = hashlib.sha256()
    for file in sorted(file for file in SOURCES.iterdir() if file.suffix in {".go", ".mod", ".sum"}):
        if not file.name.endswith("_test.go"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
