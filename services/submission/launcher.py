"""The launcher: admitted requests become flow runs, each exactly once.

It leases intents, calls Prefect outside any transaction with `idempotency_key = run id`, and stores what came of it in
one transaction that also deletes the intent: once a flow run's id is stored, nobody posts again. A process that dies
in between leaves a lease that ends; the next call gets the same flow run from Prefect.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from datetime import timedelta
from typing import Any

from runtide_schemas.vocabulary import Code

from services.submission.announcing import announce
from services.submission.domain import request as requests
from services.submission.domain.admission import TOKEN_PARAMETER, Candidate, Rejected, fair_share, parameters_for
from services.submission.domain.request import Nothing, Request
from services.submission.settings import SubmissionSettings
from services.submission.store import Key, SubmissionStore
from shared import failpoints
from shared.auth import RUN_SCOPES, mint
from shared.errors import DeploymentNotFound, OrchestratorUnavailable, ParametersRejected
from shared.failpoints import Place
from shared.messaging.failure import reason_of
from shared.prefect import Deployment, PrefectClient
from shared.service import Context

POLL_SECONDS = 0.5
LOOK_AT = 500
TOKEN_VARIABLE = "RUNTIDE_RUN_TOKEN"
Outcome = Any


async def run(ctx: Context[SubmissionStore]) -> None:
    """For the life of the process."""
    launcher = Launcher(ctx)
    try:
        while True:
            if not await launcher.take():
                await ctx.woken("launcher", POLL_SECONDS)
    finally:
        await launcher.close()


class Launcher:
    """Calls Prefect for the intents that this process holds."""

    def __init__(self, ctx: Context[SubmissionStore]) -> None:
        self._ctx = ctx
        settings = ctx.settings
        assert isinstance(settings, SubmissionSettings)
        self._settings = settings
        self._prefect = PrefectClient(settings.prefect, ctx.http)
        self._busy: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._deployments: dict[str, tuple[float, Deployment]] = {}

    async def take(self) -> int:
        """Start as many launches as there is room for; says how many."""
        room = self._settings.launches_at_once - len(self._tasks)
        if room <= 0:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            return 1
        now = self._ctx.clock()
        async with self._ctx.reading() as store:
            due = await store.due_launches(now=now, limit=LOOK_AT)
        chosen = fair_share(due, busy=self._busy, per_deployment=self._settings.launches_per_deployment, at_most=room)
        if not chosen:
            return 0
        async with self._ctx.unit_of_work() as work:
            leased = await work.store.lease(
                [(c.tenant, c.run_id) for c in chosen], owner=self._owner, now=now,
                seconds=self._settings.launch_lease_seconds,
            )  # fmt: skip
        for candidate in chosen:
            if (key := (candidate.tenant, candidate.run_id)) in leased:
                self._start(candidate, doubted=leased[key])
        return len(leased)

    async def close(self) -> None:
        """Finish the calls under way; what is not finished in time is taken up again by whoever comes next."""
        if self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(self._tasks, timeout=8)

    @property
    def _owner(self) -> str:
        return self._settings.instance_id

    def _start(self, candidate: Candidate, *, doubted: bool) -> None:
        self._busy[candidate.deployment] += 1
        task = asyncio.create_task(self._launch(candidate, doubted=doubted), name=f"launch {candidate.run_id}")
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, candidate))

    def _ended(self, task: asyncio.Task[None], candidate: Candidate) -> None:
        self._tasks.discard(task)
        self._busy[candidate.deployment] -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            self._ctx.log.warning("launch will be tried again", run_id=str(candidate.run_id), error=reason_of(error))
        self._ctx.wake("launcher")

    async def _launch(self, candidate: Candidate, *, doubted: bool) -> None:
        key: Key = (candidate.tenant, candidate.run_id)
        async with self._ctx.reading() as store:
            found = await store.one(*key)
        if found is None:
            return
        _, request = found
        try:
            flow_run_id = await self._create(request, candidate.deployment)
        except (DeploymentNotFound, ParametersRejected) as error:
            code = Code.DEPLOYMENT_NOT_FOUND if isinstance(error, DeploymentNotFound) else Code.PARAMETERS_REJECTED
            self._deployments.pop(candidate.deployment, None)
            self._ctx.degrade("prefect", None)  # it is there: it said no
            problem = str(error)
            await self._store(key, lambda held: requests.launch_failed(held, code, problem))
        except OrchestratorUnavailable as error:
            self._ctx.degrade("prefect", str(error))
            await self._wait(key, in_doubt=doubted or error.sent)
        else:
            self._ctx.degrade("prefect", None)
            failpoints.reached(Place.LAUNCHED)
            await self._store(key, lambda held: requests.launched(held, flow_run_id))

    async def _create(self, request: Request, name: str) -> Any:
        deployment = await self._deployment(name)
        takes = deployment.takes() if deployment.parameter_openapi_schema else None
        token = self._token(request)
        parameters = parameters_for(
            takes, request.parameters, run_id=request.run_id, mode=request.mode, deployment=name, token=token
        )
        if isinstance(parameters, Rejected):
            raise ParametersRejected(parameters.message)
        by_environment = token is not None and TOKEN_PARAMETER not in parameters and self._asks_for_tokens
        created = await self._prefect.create_flow_run(
            deployment.id, parameters=parameters, idempotency_key=str(request.run_id),
            tags=[f"run:{request.run_id}", f"tenant:{request.tenant}"],
            job_variables={"env": {TOKEN_VARIABLE: token}} if by_environment else None,
        )  # fmt: skip
        return created.id

    @property
    def _asks_for_tokens(self) -> bool:
        return self._settings.commands.auth == "token"

    def _token(self, request: Request) -> str | None:
        """The run's own, made for this call and kept nowhere here; None where the issuer alone signs."""
        auth = self._settings.auth
        if not auth.keys():
            return None
        return mint(
            auth, tenant=request.tenant, actor=f"run:{request.run_id}", scopes=RUN_SCOPES, run_id=request.run_id,
            valid=timedelta(hours=self._settings.run_token_hours), now=self._ctx.clock(),
        )  # fmt: skip

    async def _deployment(self, name: str) -> Deployment:
        at, known = self._deployments.get(name, (0.0, None))
        if known is not None and time.monotonic() - at < self._settings.deployment_cache_seconds:
            return known
        found = await self._prefect.read_deployment_by_name(name)
        if found is None:
            raise DeploymentNotFound(
                f"Prefect has no deployment {name!r}; deploy it, or register the instance with another one"
            )
        self._deployments[name] = (time.monotonic(), found)
        return found

    async def _store(self, key: Key, change: Any) -> None:
        async with self._ctx.unit_of_work() as work:
            held = (await work.store.load([key])).get(key)
            after = change(held) if held is not None else Nothing()
            if isinstance(after, Request):
                await work.store.save([after], now=work.now)
                announce(after, work)
            await work.store.drop_launches([key])

    async def _wait(self, key: Key, *, in_doubt: bool) -> None:
        async with self._ctx.unit_of_work() as work:
            held = (await work.store.load([key])).get(key)
            after = requests.launch_waits(held, "waits for Prefect, which is away") if held is not None else Nothing()
            if isinstance(after, Request):
                await work.store.save([after], now=work.now)
                announce(after, work)
            await work.store.postpone(key, owner=self._owner, now=work.now, in_doubt=in_doubt)
