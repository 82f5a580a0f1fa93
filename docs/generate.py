"""Generate `.env.example` from the settings of the services. `--check` compares instead."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from shared.settings import ServiceSettings, environment_names

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / ".env.example"
SERVICES = ("submission", "run_tracker", "lineage", "notifier")
HEAD = """\
# Every setting of the services, generated from their settings classes by `make docs`.
# Each can also come from a file: <NAME>_FILE. A name without a value has no default and must be set.
# `make up` writes .runtide/stack.env with values that work; nothing here is needed for it.
"""


def settings_of(service: str) -> type[ServiceSettings]:
    """The settings class that a service defines."""
    module = import_module(f"services.{service}.settings")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ServiceSettings) and value.__module__ == module.__name__
    )


def text() -> str:
    """The whole file."""
    lines, seen = [HEAD], set()
    for service in SERVICES:
        lines.append(f"\n# {service}\n" if seen else "\n# shared by all services, then submission\n")
        for name, info in environment_names(settings_of(service)):
            if name in seen:
                continue
            seen.add(name)
            if info.description:
                lines.append(f"# {info.description}\n")
            default = info.default
            known = default is not PydanticUndefined and default is not None and not isinstance(default, SecretStr)
            value = "" if not known else str(default).replace(str(ROOT) + "/", "")
            required = info.is_required()
            lines.append(f"{'' if required else '# '}{name}={value}\n")
    return "".join(lines)


def main() -> int:
    wanted = text()
    if "--check" in sys.argv:
        if TARGET.exists() and TARGET.read_text(encoding="utf-8") == wanted:
            return 0
        sys.stderr.write(".env.example does not match the settings; run: make docs\n")
        return 1
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
