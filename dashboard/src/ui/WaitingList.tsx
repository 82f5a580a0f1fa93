import type { Blocker, RequestStatusChanged } from "../contract";
import { instant } from "../live/http";
import { clockTime, count, duration, fullTime, relative, when } from "../view/format";
import { backfillPercent, isWaiting } from "../view/rows";
import { INSTANCE_LOOKS, lookOf, REQUEST_LOOKS, runTypeName, words } from "../view/words";
import { Mark } from "./Mark";

/** Requests that are no run yet, then backfills that are over, then those that never became a run: each says by name why. */
export function WaitingList({ requests, now }: { requests: readonly RequestStatusChanged[]; now: number }) {
  const waiting = requests.filter(isWaiting);
  const ended = requests.filter((request) => !isWaiting(request));
  const backfills = ended.filter((request) => request.backfill && request.progress);
  const others = ended.filter((request) => !backfills.includes(request));
  return (
    <>
      <Group title="Waiting" requests={waiting} now={now} />
      <Group title="Backfills that are over" requests={backfills} now={now} />
      <Group title="Never became a run" requests={others} now={now} />
    </>
  );
}

function Group({ title, requests, now }: { title: string; requests: readonly RequestStatusChanged[]; now: number }) {
  if (requests.length === 0) return null;
  return (
    <section className="group" aria-label={title}>
      <h2>
        {title} <span className="number">{count(requests.length)}</span>
      </h2>
      <ul className="requests">
        {requests.map((request) => (
          <RequestItem key={request.run_id} request={request} now={now} />
        ))}
      </ul>
    </section>
  );
}

function RequestItem({ request, now }: { request: RequestStatusChanged; now: number }) {
  const since = instant(request.occurred_at);
  const blockers = request.blockers ?? [];
  const more = (request.blockers_total ?? blockers.length) - blockers.length;
  return (
    <li className="request" data-run-id={request.run_id} data-status={request.status} data-seq={request.seq}>
      <div className="request-status">
        <Mark key={request.status} look={lookOf(REQUEST_LOOKS, request.status)} />
      </div>
      <div className="request-who">
        <span className="name">{request.instance_name ?? "unknown instance"}</span>
        <span className="sub">
          {request.run_type ? runTypeName(request.run_type) : (request.flow_kind ?? "run")}
          <span className="id" title={request.run_id}>
            {request.run_id.slice(0, 8)}
          </span>
        </span>
      </div>
      <div className="request-why">
        <BackfillBar request={request} />
        <Message request={request} />
        {blockers.length > 0 && (
          <ul className="blockers" aria-label="Blocked by">
            {blockers.map((blocker) => (
              <BlockerItem key={`${blocker.instance_id}/${blocker.flow_kind}/${blocker.reason}`} blocker={blocker} />
            ))}
            {more > 0 && <li className="sub">and {count(more)} more</li>}
          </ul>
        )}
      </div>
      <div className="request-when">
        {since !== null && (
          <time dateTime={request.occurred_at} title={fullTime(since)} className="number">
            {isWaiting(request) ? `for ${duration((now - since) / 1000, false)}` : when(since, now)}
          </time>
        )}
        <span className="sub">
          {words(request.trigger ?? "manual")}
          {request.actor && request.actor !== "unknown" && ` · ${request.actor}`}
        </span>
        {isWaiting(request) && <Deadline until={instant(request.wait_until)} request={request} now={now} />}
      </div>
    </li>
  );
}

function BackfillBar({ request }: { request: RequestStatusChanged }) {
  const percent = backfillPercent(request);
  if (percent === null || !request.backfill) return null;
  const shown = Math.floor(percent);
  return (
    <div className="progress">
      <div
        className="bar"
        role="progressbar"
        aria-label={`Progress of the backfill of ${request.instance_name ?? "an instance"}`}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={shown}
      >
        <div className="fill" style={{ transform: `scaleX(${percent / 100})` }} />
      </div>
      <span className="percent number">{shown} %</span>
      <span className="step">
        {request.backfill.start} to {request.backfill.end}
      </span>
    </div>
  );
}

function Message({ request }: { request: RequestStatusChanged }) {
  const asked = instant(request.cancel_requested_at);
  const said = request.message ?? request.warning ?? (request.status === "admitted" ? "Waiting for Prefect." : null);
  if (said === null && !request.code && asked === null) return null;
  const clamped = (request.blockers ?? []).length > 0;
  return (
    <p className={clamped ? "said" : undefined} title={clamped ? (said ?? undefined) : undefined}>
      {request.code && <code className="code">{request.code}</code>} {said}
      {asked !== null && ` Cancel asked at ${clockTime(asked)}.`}
    </p>
  );
}

function BlockerItem({ blocker }: { blocker: Blocker }) {
  return (
    <li>
      <span className="name">{blocker.name}</span>
      {blocker.flow_kind && <span className="sub">{blocker.flow_kind}</span>}
      <Mark look={lookOf(INSTANCE_LOOKS, blocker.status)} quiet />
      {blocker.reason && <span className="sub reason">{blocker.reason}</span>}
    </li>
  );
}

function Deadline({ until, request, now }: { until: number | null; request: RequestStatusChanged; now: number }) {
  if (request.status !== "parked") return null;
  if (until === null) return <span className="sub">no deadline</span>;
  return (
    <span className="sub" title={fullTime(until)}>
      until {when(until, now)}, {relative(until, now)}
    </span>
  );
}
