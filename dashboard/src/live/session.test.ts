import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Problem } from "./http";
import type { Service } from "./presence";
import type { RealtimeEvents } from "./realtime";
import { Session } from "./session";
import type { Fetched, Snapshots, Source } from "./snapshots";
import { runsOf } from "./store";

const FEED = "tenant:acme:feed";
const LINEAGE = "lineage:acme";

const run = (seq: number, fields: object = {}) => ({
  type: "run.status_changed",
  run_id: "r1",
  status: "running",
  occurred_at: "2025-01-15T14:00:00Z",
  seq,
  ...fields,
});

class FakeSnapshots implements Snapshots {
  asked: Source[] = [];
  held: ReadonlySet<string>[] = [];
  answers: Record<Source, unknown[] | Problem> = { runs: [], requests: [], instances: [] };
  askedRuns: string[][] = [];

  async newest(source: Source, held: ReadonlySet<string>): Promise<Fetched> {
    this.asked.push(source);
    this.held.push(held);
    const items = this.answers[source];
    if (items instanceof Problem) throw items;
    return { items, older: null, asOf: Date.now() };
  }
  async older(): Promise<Fetched> {
    return { items: [], older: null, asOf: null };
  }
  async runs(ids: readonly string[]): Promise<readonly unknown[]> {
    this.askedRuns.push([...ids]);
    return [run(7, { progress_pct: 70 })];
  }
}

let events: RealtimeEvents;
let channels: ReadonlySet<string>;
let snapshots: FakeSnapshots;
let session: Session;
let down: ReadonlySet<Service>;

beforeEach(() => {
  vi.useFakeTimers();
  snapshots = new FakeSnapshots();
  down = new Set();
  session = new Session({
    tenant: "acme",
    clockAheadMs: 0,
    realtime: (heard) => {
      events = heard;
      return { start: () => undefined, stop: () => undefined, setChannels: (asked) => (channels = asked) };
    },
    snapshots,
    alive: async (service) => !down.has(service),
    looked: () => true,
    onUnauthorized: () => undefined,
  });
  session.start();
});

afterEach(() => {
  session.stop();
  vi.useRealTimers();
});

const settle = () => vi.advanceTimersByTimeAsync(600);

async function connect(recovered = false) {
  events.onTransport("connected");
  events.onSubscribed(FEED, recovered);
  events.onSubscribed(LINEAGE, recovered);
  await settle();
}

it("asks for nothing before it is subscribed", async () => {
  await settle();
  expect(channels).toEqual(new Set([FEED, LINEAGE]));
  expect(snapshots.asked).toEqual([]);
  expect(session.view().connection).toEqual({ state: "connecting" });
});

it("fetches each list once when subscribed, and is live then", async () => {
  snapshots.answers.runs = [run(3)];
  await connect();
  expect(snapshots.asked.sort()).toEqual(["instances", "requests", "runs"]);
  expect(runsOf(session.view().live)).toMatchObject([{ seq: 3 }]);
  expect(session.view().connection).toEqual({ state: "live", delaySeconds: null });
});

it("keeps what came between subscribing and the snapshot", async () => {
  snapshots.answers.runs = [run(3)];
  events.onTransport("connected");
  events.onSubscribed(FEED, false);
  events.onMessage(run(4, { status: "completed" }), true);
  await settle();
  expect(runsOf(session.view().live)).toMatchObject([{ seq: 4, status: "completed" }]);
});

it("fetches again after a break that did not recover, naming what it holds, and not after one that did", async () => {
  snapshots.answers.runs = [run(3)];
  await connect();
  snapshots.asked = [];
  events.onTransport("connecting");
  await settle();
  expect(session.view().connection.state).toBe("reconnecting");
  await connect(true);
  expect(snapshots.asked).toEqual([]);
  expect(session.view().connection.state).toBe("live");
  events.onTransport("connecting");
  snapshots.answers.runs = [run(9, { status: "failed" })];
  await connect(false);
  expect(snapshots.asked.sort()).toEqual(["instances", "requests", "runs"]);
  expect(snapshots.held.some((held) => held.has("r1"))).toBe(true);
  expect(runsOf(session.view().live)).toMatchObject([{ seq: 9, status: "failed" }]);
});

it("says since when the page is old, and stops its clock there", async () => {
  await connect();
  events.onTransport("connecting");
  const lostAt = Date.now();
  await vi.advanceTimersByTimeAsync(20_000);
  expect(session.view().connection).toEqual({ state: "reconnecting", asOf: lostAt });
  expect(session.view().now).toBe(lostAt);
});

it("is not live while a service is away, names it, and is live again when that is back", async () => {
  await connect();
  const lastWhole = Date.now() - 600;
  down = new Set<Service>(["notifier"]);
  await vi.advanceTimersByTimeAsync(15_000);
  expect(session.view().connection).toEqual({ state: "behind", missing: ["notifier"], asOf: lastWhole });
  expect(session.view().now).toBe(lastWhole);
  down = new Set();
  await vi.advanceTimersByTimeAsync(4_000);
  expect(session.view().connection.state).toBe("live");
});

it("is offline when the browser has no network or the server refuses", async () => {
  await connect();
  session.setOnline(false);
  await settle();
  expect(session.view().connection.state).toBe("offline");
  session.setOnline(true);
  events.onTransport("refused");
  await settle();
  expect(session.view().connection.state).toBe("offline");
});

it("shows the lists without realtime, and says that they are not live", async () => {
  snapshots.answers.runs = [run(3)];
  await vi.advanceTimersByTimeAsync(4_000);
  expect(runsOf(session.view().live)).toHaveLength(1);
  expect(session.view().connection.state).toBe("reconnecting");
});

it("loses one panel with one part, tries again by itself, and stays live", async () => {
  snapshots.answers.runs = new Problem(0, "no connection");
  await connect();
  const failed = session.view().sources.runs;
  expect(failed).toMatchObject({ loaded: false, problem: "no connection" });
  expect(failed.failedSince).not.toBeNull();
  expect(session.view().sources.instances.loaded).toBe(true);
  expect(session.view().connection.state).toBe("live");
  snapshots.answers.runs = [run(3)];
  await vi.advanceTimersByTimeAsync(2_500);
  expect(session.view().sources.runs).toMatchObject({ loaded: true, failedSince: null, problem: null });
  expect(session.view().connection.state).toBe("live");
});

it("follows the runs in view, and asks once for what it missed of several", async () => {
  await connect();
  session.watch(["r1", "r2"]);
  expect(channels).toEqual(new Set([FEED, LINEAGE, "run:r1:progress", "run:r2:progress"]));
  events.onSubscribed("run:r1:progress", false);
  events.onSubscribed("run:r2:progress", false);
  await settle();
  expect(snapshots.askedRuns).toEqual([["r1", "r2"]]);
  expect(runsOf(session.view().live)).toMatchObject([{ progress_pct: 70 }]);
  session.watch([]);
  expect(channels).toEqual(new Set([FEED, LINEAGE]));
});

it("paints at most four times a second however much arrives", async () => {
  await connect();
  let paints = 0;
  session.subscribe(() => paints++);
  for (let seq = 10; seq < 210; seq++) {
    events.onMessage(run(seq), true);
    await vi.advanceTimersByTimeAsync(10);
  }
  expect(paints).toBeGreaterThanOrEqual(7);
  expect(paints).toBeLessThanOrEqual(9);
  await settle();
  expect(runsOf(session.view().live)).toMatchObject([{ seq: 209 }]);
});

it("measures the delay from the event to the page", async () => {
  await connect();
  for (const lag of [300, 400, 5_000]) {
    events.onMessage(run(20, { occurred_at: new Date(Date.now() - lag).toISOString() }), true);
  }
  events.onMessage(run(21, { occurred_at: "2020-01-01T00:00:00Z" }), false);
  await settle();
  expect(session.view().connection).toEqual({ state: "live", delaySeconds: 0.4 });
});
