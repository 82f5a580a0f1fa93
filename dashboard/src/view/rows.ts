/** Which rows, in which order, and how many of each. Pure. */

import type { RequestStatusChanged } from "../contract";
import { instant } from "../live/http";
import { isOpen, type Run } from "../live/store";
import type { Query, SortKey } from "./query";
import { runTypeName } from "./words";

export type Counts = ReadonlyMap<string, number>;

/** Seconds by event time; a run that nobody saw start has none. */
export function elapsedSeconds(run: Run, now: number): number | null {
  if (!isOpen(run.status) && typeof run.duration_seconds === "number") return run.duration_seconds;
  const startedAt = instant(run.started_at);
  if (startedAt === null) return null;
  const endedAt = isOpen(run.status) ? now : instant(run.ended_at);
  return endedAt === null ? null : Math.max(0, endedAt - startedAt) / 1000;
}

/** All filters but the status, which the counters stand for. */
export function matching(runs: readonly Run[], query: Query): Run[] {
  const text = query.text.trim().toLowerCase();
  return runs.filter(
    (run) =>
      (query.type === "" || run.run_type === query.type) &&
      (query.instance === "" || run.instance_name === query.instance) &&
      (text === "" || haystack(run).includes(text)),
  );
}

export function withStatus<R extends { status: string }>(rows: readonly R[], statuses: readonly string[]): R[] {
  return statuses.length === 0 ? [...rows] : rows.filter((row) => statuses.includes(row.status));
}

export function countByStatus(rows: readonly { status: string }[]): Counts {
  const counts = new Map<string, number>();
  for (const { status } of rows) counts.set(status, (counts.get(status) ?? 0) + 1);
  return counts;
}

const STATUS_ORDER = ["running", "pending", "failed", "cancelled", "completed"];

const KEYS: Record<SortKey, (run: Run, now: number) => number | string> = {
  created: (run) => run.since,
  elapsed: (run, now) => elapsedSeconds(run, now) ?? -1,
  instance: (run) => run.instance_name.toLowerCase(),
  type: (run) => runTypeName(run.run_type),
  status: (run) => -STATUS_ORDER.indexOf(run.status),
};

/** Ties: the newer first, then by id, so that the order never depends on arrival. */
export function sorted(runs: readonly Run[], sort: SortKey, descending: boolean, now: number): Run[] {
  const key = KEYS[sort];
  const sign = descending ? -1 : 1;
  return runs
    .map((run) => ({ run, key: key(run, now) }))
    .sort((a, b) => sign * compare(a.key, b.key) || b.run.since - a.run.since || compare(a.run.run_id, b.run.run_id))
    .map(({ run }) => run);
}

/** Requests that are no run yet, or never became one. */
export function notLaunched(requests: Iterable<RequestStatusChanged>): RequestStatusChanged[] {
  return [...requests].filter((request) => request.status !== "launched").sort(newestFirst);
}

export const isWaiting = (request: RequestStatusChanged): boolean =>
  request.status === "requested" || request.status === "parked" || request.status === "admitted";

/** How far a backfill is, in percent of its dates; null for all other requests. */
export function backfillPercent(request: RequestStatusChanged): number | null {
  const progress = request.progress;
  if (!progress || progress.total <= 0) return null;
  return (100 * ((progress.done ?? 0) + (progress.failed ?? 0) + (progress.cancelled ?? 0))) / progress.total;
}

export function matchingRequests(requests: readonly RequestStatusChanged[], query: Query): RequestStatusChanged[] {
  const text = query.text.trim().toLowerCase();
  return requests.filter(
    (request) =>
      (query.type === "" || request.run_type === query.type) &&
      (query.instance === "" || request.instance_name === query.instance) &&
      (text === "" || requestHaystack(request).includes(text)),
  );
}

function haystack(run: Run): string {
  return [run.instance_name, run.run_id, run.flow_kind, run.step, run.actor, run.error?.message].join(" ").toLowerCase();
}

function requestHaystack(request: RequestStatusChanged): string {
  const blockers = (request.blockers ?? []).map((blocker) => blocker.name);
  const fields = [request.instance_name, request.run_id, request.flow_kind, request.code, request.message, request.actor];
  return [...fields, ...blockers].join(" ").toLowerCase();
}

function newestFirst(a: RequestStatusChanged, b: RequestStatusChanged): number {
  return (instant(b.occurred_at) ?? 0) - (instant(a.occurred_at) ?? 0) || compare(a.run_id, b.run_id);
}

function compare(a: number | string, b: number | string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
