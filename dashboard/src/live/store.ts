/**
 * What the page knows. Pure: no network, no clock.
 *
 * The rule that makes "nothing missed" true: each message is the whole state of one entity, so compare `seq` per
 * (type, id), keep what is newer, drop the rest. A `run.progressed` is dropped also when it is not newer than the
 * `run.status_changed` at hand, for both share the run's one `seq`. HTTP snapshots and publications pass through here
 * alike, so every order of arrival ends in the same rows.
 */

import type { InstanceStatusChanged, RequestStatusChanged, RunProgressed, RunStatusChanged } from "../contract";

export type Message = RunStatusChanged | RunProgressed | RequestStatusChanged | InstanceStatusChanged;
export type MessageType = Message["type"];

/** A publication above the channel's limit says so; the same `seq` by HTTP is whole, and replaces it. */
type Truncatable<M> = M & { truncated?: boolean };

/** By HTTP a run also says when it was made. */
type RunHeard = Truncatable<RunStatusChanged> & { created_at?: string };

/** A run as a row shows it: the newest status with the newer progress over it. */
export type Run = RunStatusChanged & {
  detail: string | null;
  /** The earliest instant its statuses name, in ms: a place in the list that no later message moves down. */
  since: number;
};

interface RunEntry {
  readonly status: Truncatable<RunStatusChanged> | null;
  readonly progress: RunProgressed | null;
  readonly since: number;
  readonly run: Run | null;
}

export interface Live {
  readonly runs: ReadonlyMap<string, RunEntry>;
  readonly requests: ReadonlyMap<string, RequestStatusChanged>;
  readonly instances: ReadonlyMap<string, InstanceStatusChanged>;
}

export const NOTHING: Live = { runs: new Map(), requests: new Map(), instances: new Map() };

/** The same `Live` when nothing in it was news; entries that did not change keep their identity. */
export function apply(live: Live, messages: Iterable<unknown>): Live {
  const runs = new Draft(live.runs);
  const requests = new Draft(live.requests);
  const instances = new Draft(live.instances);
  for (const message of messages) {
    if (!isMessage(message)) continue;
    switch (message.type) {
      case "run.status_changed":
        runs.set(message.run_id, withStatus(runs.get(message.run_id), message));
        break;
      case "run.progressed":
        runs.set(message.run_id, withProgress(runs.get(message.run_id), message));
        break;
      case "request.status_changed":
        if (isNewer(message, requests.get(message.run_id))) requests.set(message.run_id, message);
        break;
      case "instance.status_changed":
        if (isNewer(message, instances.get(message.instance_id))) instances.set(message.instance_id, message);
        break;
    }
  }
  if (!runs.changed && !requests.changed && !instances.changed) return live;
  return { runs: runs.map, requests: requests.map, instances: instances.map };
}

export function runsOf(live: Live): Run[] {
  const runs: Run[] = [];
  for (const entry of live.runs.values()) if (entry.run !== null) runs.push(entry.run);
  return runs;
}

export function isOpen(status: RunStatusChanged["status"]): boolean {
  return status === "pending" || status === "running";
}

/** A page that stays open for weeks forgets the oldest ended runs; open ones are always kept. */
export function forgetOldest(live: Live, most: number): Live {
  if (live.runs.size <= most) return live;
  const ended = runsOf(live).filter((run) => !isOpen(run.status));
  const kept = new Map(live.runs);
  for (const run of ended.sort((a, b) => a.since - b.since).slice(0, live.runs.size - most)) kept.delete(run.run_id);
  return { ...live, runs: kept };
}

function isNewer<M extends { seq: number }>(heard: Truncatable<M>, held: Truncatable<M> | null | undefined): boolean {
  if (held === undefined || held === null || heard.seq > held.seq) return true;
  return heard.seq === held.seq && held.truncated === true && heard.truncated !== true;
}

function withStatus(entry: RunEntry | undefined, heard: RunHeard): RunEntry | undefined {
  const since = earliest(entry?.since, heard.occurred_at, heard.started_at, heard.created_at);
  const held = entry?.status ?? null;
  return entryOf(entry, isNewer(heard, held) ? heard : held, entry?.progress ?? null, since);
}

function withProgress(entry: RunEntry | undefined, heard: RunProgressed): RunEntry | undefined {
  const held = entry?.progress ?? null;
  return entryOf(entry, entry?.status ?? null, isNewer(heard, held) ? heard : held, earliest(entry?.since));
}

function entryOf(
  before: RunEntry | undefined,
  status: RunEntry["status"],
  progress: RunEntry["progress"],
  since: number,
): RunEntry | undefined {
  const newer = progress !== null && (status === null || progress.seq > status.seq) ? progress : null;
  if (before?.status === status && before.progress === newer && before.since === since) return before;
  return { status, progress: newer, since, run: status === null ? null : rowOf(status, newer, since) };
}

function rowOf(status: RunStatusChanged, progress: RunProgressed | null, since: number): Run {
  if (progress === null) return { ...status, detail: null, since };
  return {
    ...status,
    status: progress.status,
    attempt: progress.attempt ?? status.attempt ?? 1,
    progress_pct: progress.progress_pct ?? null,
    step: progress.step ?? null,
    detail: progress.detail ?? null,
    occurred_at: progress.occurred_at,
    seq: progress.seq,
    since,
  };
}

function earliest(held: number | undefined, ...times: (string | null | undefined)[]): number {
  let since = held ?? Number.POSITIVE_INFINITY;
  for (const time of times) {
    const instant = time ? Date.parse(time) : Number.NaN;
    if (instant < since) since = instant;
  }
  return since;
}

const IDS: Record<MessageType, "run_id" | "instance_id"> = {
  "run.status_changed": "run_id",
  "run.progressed": "run_id",
  "request.status_changed": "run_id",
  "instance.status_changed": "instance_id",
};

/** Unknown types and things without id or `seq` are of a later version or not for this page. */
function isMessage(value: unknown): value is Message {
  if (typeof value !== "object" || value === null) return false;
  const fields = value as Record<string, unknown>;
  const type = fields["type"];
  if (typeof type !== "string" || !(type in IDS)) return false;
  return typeof fields[IDS[type as MessageType]] === "string" && Number.isInteger(fields["seq"]);
}

/** A map that is copied at its first change, once per batch. */
class Draft<V> {
  map: ReadonlyMap<string, V>;
  changed = false;

  constructor(map: ReadonlyMap<string, V>) {
    this.map = map;
  }

  get(id: string): V | undefined {
    return this.map.get(id);
  }

  set(id: string, value: V | undefined): void {
    if (value === undefined || this.map.get(id) === value) return;
    if (!this.changed) {
      this.map = new Map(this.map);
      this.changed = true;
    }
    (this.map as Map<string, V>).set(id, value);
  }
}
