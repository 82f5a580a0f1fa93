"""One run before somebody's eyes: a progress bar on a terminal, a line per change elsewhere, JSON lines when asked."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, aclosing, nullcontext
from types import TracebackType
from typing import Protocol, Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from runtide_schemas.requests import RequestStatusChanged
from runtide_schemas.runs import RunStatusChanged
from runtide_schemas.vocabulary import Code, RunStatus

from runtide import errors
from runtide.cli.output import STYLES, Output, cell
from runtide.cli.session import Exit, suggestion, tell
from runtide.client import Runtide
from runtide.following import Update
from runtide.runs import Result, Run

MOST_METRICS = 12
_STEP_PCT = 10


class Screen(Protocol):
    def show(self, update: Update) -> None: ...


async def follow(client: Runtide, run: Run, out: Output, *, label: str, timeout_seconds: float | None) -> Exit:
    """Show it to its end; the code says which."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await _show(run, out, label)
        return ended(out, await run.result())
    except TimeoutError:
        message = f"run {run.id} has not ended in {timeout_seconds:g} s; it goes on: runtide watch {run.id}"
        return tell(out, errors.WaitTimedOut(message))
    except errors.RunRefused as error:
        return await refused(client, out, error)
    except errors.RuntideError as error:
        return tell(out, error)


async def refused(client: Runtide, out: Output, error: errors.RunRefused) -> Exit:
    """As any error, with near names where the instance is not known."""
    code = tell(out, error)
    snapshot = error.snapshot
    if error.code == Code.UNKNOWN_INSTANCE and snapshot.instance_name and not out.as_json:
        meant = await suggestion(client, snapshot.instance_name)
        if meant:
            out.note(meant.removeprefix("; "))
    return code


def ended(out: Output, result: Result) -> Exit:
    if out.as_json:
        out.json(
            {
                "type": "result",
                "run_id": result.run_id,
                "status": result.status,
                "progress": getattr(result.snapshot, "progress", None),
                "metrics": result.metrics,
                "artifacts": {name: artifact.ref for name, artifact in result.artifacts.items()},
            },
            pretty=False,
        )
        return Exit.OK
    message = result.snapshot.message if isinstance(result.snapshot, RequestStatusChanged) else None
    took = result.snapshot.duration_seconds if isinstance(result.snapshot, RunStatusChanged) else None
    in_time = f" in {took:.1f} s" if took is not None else ""
    out.line(f"{result.run_id} {result.status}{in_time}{f': {message}' if message else ''}")
    plain = {name: value for name, value in result.metrics.items() if not isinstance(value, dict | list)}
    for name, value in list(plain.items())[:MOST_METRICS]:
        out.line(f"  {name} = {cell(value)}")
    if len(plain) > MOST_METRICS:
        out.line(f"  and {len(plain) - MOST_METRICS} more metrics: runtide run {result.run_id}")
    for name, artifact in result.artifacts.items():
        out.line(f"  {name}: {artifact.ref}")
    return Exit.OK


async def _show(run: Run, out: Output, label: str) -> None:
    with _screen(out, label) as screen:
        async with aclosing(run.updates()) as updates:
            async for update in updates:
                screen.show(update)


def _screen(out: Output, label: str) -> AbstractContextManager[Screen]:
    if out.as_json:
        return nullcontext(JsonLines(out))
    return Bar(out, label) if out.live else nullcontext(Lines(out, label))


class JsonLines:
    def __init__(self, out: Output) -> None:
        self._out = out

    def show(self, update: Update) -> None:
        self._out.json(update.snapshot, pretty=False)


class Lines:
    """A line per change of status or step, and per ten percent."""

    def __init__(self, out: Output, label: str) -> None:
        self._out = out
        self._label = label
        self._said: tuple[object, ...] = ()

    def show(self, update: Update) -> None:
        tens = None if update.progress_pct is None else int(update.progress_pct // _STEP_PCT)
        saying = (update.status, update.step, tens, update.message)
        if saying != self._said:
            self._said = saying
            self._out.line(f"{cell(update.occurred_at)} {self._label} {sentence(update)}")


class Bar:
    """One bar, full at 100 %; while nothing is known of the progress it only moves."""

    def __init__(self, out: Output, label: str) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[step]}[/dim]"),
            console=out.console,
        )
        self._label = label
        self._task = self._progress.add_task(label, total=None, step="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, update: Update) -> None:
        style = STYLES.get(update.status, "")
        status = f"[{style}]{update.status}[/]" if style else update.status
        known = update.progress_pct is not None or update.status is RunStatus.COMPLETED
        self._progress.update(
            self._task,
            description=f"{self._label} {status}",
            total=100 if known else None,
            completed=update.progress_pct or 0,
            step=_aside(update).replace("[", r"\["),
        )


def sentence(update: Update) -> str:
    """`running 40% transform`."""
    percent = f" {update.progress_pct:.0f}%" if update.progress_pct is not None else ""
    aside = _aside(update)
    return f"{update.status}{percent}{f' {aside}' if aside else ''}"


def _aside(update: Update) -> str:
    blocked = f"waits for {', '.join(b.name for b in update.blockers)}" if update.blockers and not update.is_end else ""
    sub_state = getattr(update.snapshot, "sub_state", None)
    said = (sub_state, update.step, update.detail, blocked or update.message)
    return " · ".join(str(part) for part in said if part)
