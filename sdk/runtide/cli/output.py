"""What the commands print: tables and bars on a terminal, plain lines elsewhere, JSON when asked. Errors to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {
    "completed": "green", "finished": "green", "ready": "green", "ok": "green", "unchanged": "dim", "skipped": "cyan",
    "running": "blue", "launched": "blue", "admitted": "blue", "new": "green", "changed": "yellow",
    "parked": "yellow", "stale": "yellow", "warning": "yellow", "pending": "dim", "requested": "dim",
    "failed": "red", "refused": "red", "launch_failed": "red", "error": "red", "expired": "magenta",
    "cancelled": "magenta", "retired": "dim", "not_initialized": "dim",
    "run": "blue", "wait": "yellow", "skip": "dim", "blocked": "red",
}  # fmt: skip

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Output:
    """One per command. Rich leaves colours out where NO_COLOR is set or nobody looks."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        width = None if sys.stdout.isatty() else 10_000
        self.console = Console(highlight=False, soft_wrap=True, width=width)
        self.errors = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def live(self) -> bool:
        """Somebody looks: bars and tables are welcome."""
        return self.console.is_terminal and not self.as_json and os.environ.get("TERM") != "dumb"

    def json(self, value: Any, *, pretty: bool = True) -> None:
        """One document; `pretty` False: one line of many."""
        text = json.dumps(to_jsonable_python(value), indent=2 if pretty else None, ensure_ascii=False)
        typer.echo(text)

    def line(self, text: str | Text = "") -> None:
        """For people: nothing when JSON is asked for."""
        if not self.as_json:
            self.console.print(harmless(text) if isinstance(text, str) else text, markup=False)

    def note(self, text: str, style: str | None = None) -> None:
        """Beside the answer, so to stderr."""
        self.errors.print(text, style=style, markup=False)

    def error(self, kind: str, message: str, **more: Any) -> None:
        if self.as_json:
            self.json({"error": {"type": kind, "message": message, **more}}, pretty=False)
        self.errors.print(message, style="red", markup=False)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
        """A table for eyes; tab-separated lines for pipes."""
        filled = [[cell(value) for value in row] for row in rows]
        if not self.live:
            if filled:
                typer.echo("\t".join(columns))
            for row in filled:
                typer.echo("\t".join(row))
            return
        if not filled:
            self.line(Text(empty, style="dim"))
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in filled:
            table.add_row(*(Text(value, style=STYLES.get(value, "")) for value in row))
        self.console.print(table)

    def fields(self, pairs: Mapping[str, object]) -> None:
        """A name and a value per line; what is absent is left out."""
        shown = {name: cell(value) for name, value in pairs.items() if value not in (None, "", [], {})}
        width = max((len(name) for name in shown), default=0)
        for name, value in shown.items():
            self.line(Text.assemble((f"{name:<{width}}  ", "dim"), (value, STYLES.get(value, ""))))


def cell(value: object) -> str:
    """One value in a table or line."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        case BaseModel() | dict() | list() | tuple():
            return json.dumps(to_jsonable_python(value), ensure_ascii=False)
        case _:
            return harmless(str(value))


def harmless(text: str) -> str:
    """What a terminal would obey is shown with escapes: others wrote it."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def moment(text: object) -> str:
    """An ISO time, shorter."""
    try:
        return cell(datetime.fromisoformat(str(text))) if text else "-"
    except ValueError:
        return str(text)


def styled(status: str) -> tuple[str, str]:
    return status, STYLES.get(status, "")
