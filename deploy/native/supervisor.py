"""Up and down: a graph of preparations, commands and processes, each started as soon as what it needs is there."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.native import environment, logs, ports, processes
from deploy.native.bootstrap import ROOT, BootstrapFailed
from deploy.native.layout import State, unprivileged_user
from deploy.native.part import Part, Stack, environment_of
from deploy.native.parts import BY_NAME, PARTS
from deploy.native.tools import PREPARATIONS

PREPARATIONS_AT_ONCE = 3


class PartFailed(Exception):
    """A part did not become ready; the text says which, what it logged last and why that may be."""


@dataclass(slots=True)
class Upping:
    """One run of `up`."""

    stack: Stack
    wanted: tuple[Part, ...]
    say: Callable[[str], None]
    done: dict[str, asyncio.Event] = field(default_factory=dict)
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PREPARATIONS_AT_ONCE))

    async def run(self) -> None:
        """Everything in the order of its needs; the first failure ends the rest of the starting, not what runs."""
        names = needed(self.wanted)
        self.done = {name: asyncio.Event() for name in names}
        try:
            async with asyncio.TaskGroup() as group:
                for name in names:
                    group.create_task(self._one(name))
        except* (PartFailed, BootstrapFailed, OSError) as failures:
            raise next(_leaves(failures)) from None

    async def _one(self, name: str) -> None:
        part = BY_NAME.get(name)
        for need in part.needs if part else PREPARATIONS[name][1]:
            if need in self.done:
                await self.done[need].wait()
        try:
            await (self._part(part) if part else self._preparation(name))
        except (PartFailed, BootstrapFailed, OSError):
            self.say(f"{name:<20} FAILED; ending what is under way")
            raise
        self.done[name].set()

    async def _preparation(self, name: str) -> None:
        what, _, work = PREPARATIONS[name]
        async with self.slots:
            began = time.monotonic()
            try:
                await work()
            except BootstrapFailed as error:
                raise PartFailed(f"{what} could not be prepared: {error}") from error
            if (seconds := time.monotonic() - began) > 1:
                self.say(f"{name:<20} prepared {seconds:6.1f} s   {what}")

    async def _part(self, part: Part) -> None:
        stack, began = self.stack, time.monotonic()
        if part.name in stack.external:
            self.say(f"{part.name:<20} yours")
            return
        if part.once and part.ready and await part.ready(stack)():
            self.say(f"{part.name:<20} done before")
            return
        running = processes.find(stack.state.run, part.name)
        if running and await self._becomes_ready(part, lambda: running.alive):
            self.say(f"{part.name:<20} running           {_address(part, stack)}")
            return
        if running:
            raise PartFailed(logs.explain(part, stack, "runs, but does not become ready"))
        try:
            if part.prepare:
                await part.prepare(stack)
            await self._start(part)
            if part.finish:
                await part.finish(stack)
        except BootstrapFailed as error:
            raise PartFailed(f"{part.name}: {error}") from error
        seconds = time.monotonic() - began
        self.say(f"{part.name:<20} {'done ' if part.once else 'ready'} {seconds:9.1f} s   {_address(part, stack)}")

    async def _start(self, part: Part) -> None:
        stack = self.stack
        user = unprivileged_user() if part.unprivileged else None
        record, process = processes.spawn(
            part.name, part.command(stack), env=environment_of(part, stack), cwd=Path("/") if user else ROOT,
            log=logs.log_of(part, stack.state), stop_signal=part.stop_signal, user=user,
        )  # fmt: skip
        if part.once:
            if await asyncio.to_thread(process.wait):
                raise PartFailed(logs.explain(part, stack, f"ended with {process.returncode}"))
            return
        record.save(stack.state.run)
        try:
            if not await self._becomes_ready(part, lambda: process.poll() is None):
                code = process.poll()
                how = f"is not ready after {part.start_seconds:.0f} s" if code is None else f"ended with {code}"
                raise PartFailed(logs.explain(part, stack, how))
        finally:
            processes.leave(process)

    async def _becomes_ready(self, part: Part, alive: Callable[[], bool]) -> bool:
        probe, deadline = part.ready(self.stack) if part.ready else _always, time.monotonic() + part.start_seconds
        while time.monotonic() < deadline:
            if await probe():
                return True
            if not alive():
                return False
            await asyncio.sleep(0.1)
        return False


async def _always() -> bool:
    return True


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def needed(wanted: Iterable[Part]) -> list[str]:
    """The parts and the preparations they stand on, each after its needs."""
    order: list[str] = []

    def visit(name: str, from_parts: frozenset[str]) -> None:
        if name in order:
            return
        part = BY_NAME.get(name)
        for need in part.needs if part else PREPARATIONS[name][1]:
            if need not in BY_NAME or need in from_parts:
                visit(need, from_parts)
        order.append(name)

    chosen = [part for part in wanted if part.exists()]
    for part in chosen:
        visit(part.name, frozenset(part.name for part in chosen))
    return order


def select(groups: Iterable[str], names: Iterable[str]) -> tuple[Part, ...]:
    """Parts by group or by name; a named service brings the commands that must have run before it."""
    named, groups = set(names), set(groups)
    if unknown := named - BY_NAME.keys():
        raise ValueError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    for name in list(named):
        named |= {need for need in BY_NAME[name].needs if need in BY_NAME and BY_NAME[need].once}
    return tuple(part for part in PARTS if (part.name in named if named else part.group in groups))


def _address(part: Part, stack: Stack) -> str:
    return f"127.0.0.1:{stack.port(part.ports[0])}" if part.ports else ""


@contextmanager
def locked(state: State, say: Callable[[str], None]) -> Iterator[None]:
    """One `up`, `down` or `reset` of a stack at a time."""
    state.create()
    with state.lock_file.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another command works on this stack; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def load(state: State) -> Stack:
    """The stack as it will be: ports picked, secrets made, `stack.env` written."""
    alive = frozenset(port for part in PARTS if processes.find(state.run, part.name) for port in part.ports)
    remembered = ports.load(state.ports_file)
    chosen = ports.pick(remembered, in_use=alive, use_preferred=state.is_default)
    secrets = environment.load_secrets(state.secrets_file)
    written = environment.read(state.env_file)
    given = environment.given(os.environ, _own(written, {**chosen, **remembered}, secrets))
    external = environment.external_parts(given)
    values = _keep_mode(_keep_tokens(environment.compose(chosen, secrets, given), written), written)
    ports.save(state.ports_file, chosen)
    environment.save(state.env_file, values)
    return Stack(state, chosen, secrets, values, external)


def look(state: State) -> Stack:
    """The stack as the last `up` left it; changes nothing."""
    chosen = {**ports.PREFERRED, **ports.load(state.ports_file)}
    secrets, written = environment.read(state.secrets_file), environment.read(state.env_file)
    given = environment.given(written, _own(written, chosen, secrets)) if secrets else {}
    return Stack(state, chosen, secrets, written, environment.external_parts(given))


def brought(state: State) -> frozenset[str]:
    """Parts that the caller's environment brings, so that `up` would not start them."""
    then, secrets = {**ports.PREFERRED, **ports.load(state.ports_file)}, environment.read(state.secrets_file)
    written = environment.read(state.env_file)
    own = _own(written, then, secrets) if secrets else {}
    return environment.external_parts(environment.given(os.environ, own))


def _own(written: Mapping[str, str], ports_then: Mapping[str, int], secrets: Mapping[str, str]) -> dict[str, str]:
    """What `stack.env` says of parts that are ours: a caller who has it in the environment has sourced that file."""
    return {**written, **environment.compose(ports_then, secrets, {}), **_tokens(written)}


def _tokens(values: Mapping[str, str]) -> dict[str, str]:
    return {name: values[name] for name in ("RUNTIDE_TOKEN", "RUNTIDE_TOKEN_OTHER") if name in values}


def _keep_tokens(values: dict[str, str], written: Mapping[str, str]) -> dict[str, str]:
    """The tokens of the time before, while they are signed with the same key for the same tenant."""
    same = all(values[name] == written.get(name) for name in ("RUNTIDE_AUTH_HMAC_KEYS", "RUNTIDE_TENANT"))
    return values | _tokens(written) if same else values


def _keep_mode(values: dict[str, str], written: Mapping[str, str]) -> dict[str, str]:
    """Who is believed on Kafka stays as it was said last."""
    kept = (
        {environment.COMMANDS_AUTH: written[environment.COMMANDS_AUTH]} if environment.COMMANDS_AUTH in written else {}
    )
    return kept | values


async def _end_those_of_another_mode(
    state: State, before: Mapping[str, str], stack: Stack, wanted: tuple[Part, ...], say: Callable[[str], None]
) -> tuple[Part, ...]:
    """All services believe the same: those that run in another mode end here, and start again with what is wanted."""
    mode = stack.env.get(environment.COMMANDS_AUTH, "open")
    services = [
        part for part in PARTS if part.group == "services" and not part.once and processes.find(state.run, part.name)
    ]
    if mode == before.get(environment.COMMANDS_AUTH, "open") or not services:
        return wanted
    say(f"{environment.COMMANDS_AUTH}={mode}: the services start again")
    await down(state, [part.name for part in services], say)
    return tuple(part for part in PARTS if part in wanted or part in services)


async def up(state: State, wanted: tuple[Part, ...], say: Callable[[str], None]) -> Stack:
    """Start what does not run yet and wait until it serves. What prepares services is left out when all run already."""
    before = environment.read(state.env_file)
    stack = load(state)
    wanted = await _end_those_of_another_mode(state, before, stack, wanted, say)
    if all(processes.find(state.run, part.name) for part in wanted if part.group == "services" and not part.once):
        wanted = tuple(part for part in wanted if not (part.once and part.group == "services"))
    upping = Upping(stack, wanted, say)
    await upping.run()
    return stack


async def down(state: State, names: Iterable[str], say: Callable[[str], None]) -> None:
    """End our own processes, the last started first: a part before what it needs. What the caller brought stays."""
    for name in sorted(look(state).external.intersection(names)):
        say(f"{name:<20} yours, not stopped")
    running = {name: found for name in names if (found := processes.find(state.run, name))}
    ended: dict[str, asyncio.Event] = {name: asyncio.Event() for name in running}
    users = {
        name: [other.name for other in PARTS if name in _all_needs(other) and other.name in running] for name in running
    }

    async def end(name: str) -> None:
        for user in users[name]:
            await ended[user].wait()
        began = time.monotonic()
        patience = BY_NAME[name].stop_seconds if name in BY_NAME else 10
        gently = await processes.stop(running[name], patience_seconds=patience)
        (state.run / f"{name}.json").unlink(missing_ok=True)
        say(f"{name:<20} {'stopped' if gently else 'killed '} {time.monotonic() - began:7.1f} s")
        ended[name].set()

    async with asyncio.TaskGroup() as group:
        for name in running:
            group.create_task(end(name))


def _all_needs(part: Part) -> set[str]:
    direct = {need for need in part.needs if need in BY_NAME}
    return direct.union(*(_all_needs(BY_NAME[need]) for need in direct)) if direct else set()


def is_up(state: State, part: Part) -> bool:
    return processes.find(state.run, part.name) is not None
