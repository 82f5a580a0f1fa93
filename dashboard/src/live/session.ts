/**
 * From signing in to signing out: what arrives, from whom, and how fresh it is.
 *
 * The fact not to break: a snapshot is fetched after its channel is subscribed (or when realtime is away), and again
 * whenever a subscription comes back without having recovered. Everything heard goes through `store.apply`.
 */

import { Delays } from "./delays";
import { Frames } from "./frames";
import { Presence, type Service } from "./presence";
import type { Realtime, RealtimeEvents, RealtimeFactory } from "./realtime";
import type { Snapshots, Source } from "./snapshots";
import { SOURCES, Sources, type SourceStates } from "./sources";
import { apply, forgetOldest, type Live, NOTHING } from "./store";

export type Connection =
  | { readonly state: "connecting" }
  | { readonly state: "live"; readonly delaySeconds: number | null }
  | { readonly state: "behind"; readonly missing: readonly Service[]; readonly asOf: number | null }
  | { readonly state: "reconnecting" | "offline"; readonly asOf: number | null };

export interface View {
  readonly live: Live;
  readonly sources: SourceStates;
  readonly connection: Connection;
  /** The server's clock; it stands still while the page can not know. */
  readonly now: number;
}

export interface SessionParts {
  tenant: string;
  clockAheadMs: number;
  realtime: RealtimeFactory;
  snapshots: Snapshots;
  alive: (service: Service) => Promise<boolean>;
  looked: () => boolean;
  onUnauthorized: () => void;
}

const WITHOUT_REALTIME_MS = 3_000;
const GATHER_RUNS_MS = 250;
const MOST_RUNS = 2_000;

export class Session {
  readonly #lists: ReadonlyMap<string, readonly Source[]>;
  readonly #realtime: Realtime;
  readonly #snapshots: Snapshots;
  readonly #sources: Sources;
  readonly #presence: Presence;
  readonly #frames = new Frames(() => this.#paint());
  readonly #delays: Delays;
  readonly #listeners = new Set<() => void>();
  readonly #subscribed = new Set<string>();
  #heard: unknown[] = [];
  #live = NOTHING;
  #watched: ReadonlySet<string> = new Set();
  #unrecovered = new Set<string>();
  #transport: "connecting" | "connected" | "refused" = "connecting";
  #online = true;
  #patient = true;
  #freshAt: number | null = null;
  #wasLive = false;
  #patience: ReturnType<typeof setTimeout> | undefined;
  #gathering: ReturnType<typeof setTimeout> | undefined;
  #ticking: ReturnType<typeof setInterval> | undefined;
  #view: View;

  constructor({ tenant, clockAheadMs, realtime, snapshots, alive, looked, onUnauthorized }: SessionParts) {
    this.#delays = new Delays(clockAheadMs);
    this.#lists = new Map<string, readonly Source[]>([
      [`tenant:${tenant}:feed`, ["runs", "requests"]],
      [`lineage:${tenant}`, ["instances"]],
    ]);
    this.#snapshots = snapshots;
    this.#sources = new Sources(snapshots, {
      held: (source) => new Set(this.#live[source].keys()),
      onItems: (items) => this.#take(items),
      onChange: () => this.#note(),
    });
    this.#presence = new Presence({ alive, looked, onChange: () => this.#note() });
    this.#realtime = realtime(this.#events(onUnauthorized));
    this.#view = this.#compose();
  }

  start(): void {
    this.#sources.start();
    this.#realtime.setChannels(new Set(this.#lists.keys()));
    this.#realtime.start();
    this.#presence.start();
    this.#patience = setTimeout(() => {
      this.#patient = false;
      for (const source of SOURCES) if (!this.#sources.states[source].loaded) void this.#sources.fetch(source);
    }, WITHOUT_REALTIME_MS);
    this.#ticking = setInterval(() => this.#frames.request(), 1_000);
  }

  stop(): void {
    this.#realtime.stop();
    this.#sources.stop();
    this.#presence.stop();
    this.#frames.stop();
    clearTimeout(this.#patience);
    clearTimeout(this.#gathering);
    clearInterval(this.#ticking);
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly view = (): View => this.#view;

  /** The open runs in view: their progress is followed, the others' is not. */
  watch(runIds: readonly string[]): void {
    const channels = new Set(runIds.map((id) => `run:${id}:progress`));
    if (channels.size === this.#watched.size && [...channels].every((channel) => this.#watched.has(channel))) return;
    this.#watched = channels;
    this.#realtime.setChannels(new Set([...this.#lists.keys(), ...channels]));
  }

  readonly retry = (source: Source): void => void this.#sources.fetch(source);

  readonly older = (source: Source): void => void this.#sources.older(source);

  /** The server refused and the client gave up: try anew. */
  readonly reconnect = (): void => {
    this.#realtime.stop();
    this.#subscribed.clear();
    this.#realtime.start();
  };

  /** Somebody looks again: what was not asked meanwhile is asked now. */
  readonly look = (): void => this.#presence.start();

  setOnline(online: boolean): void {
    this.#online = online;
    this.#note();
  }

  #events(onUnauthorized: () => void): RealtimeEvents {
    return {
      onUnauthorized,
      onTransport: (state) => {
        this.#transport = state;
        if (state !== "connected") this.#subscribed.clear();
        this.#note();
      },
      onSubscribed: (channel, recovered) => {
        this.#subscribed.add(channel);
        if (!recovered) this.#catchUp(channel);
        this.#note();
      },
      onUnsubscribed: (channel) => {
        this.#subscribed.delete(channel);
        this.#note();
      },
      onMessage: (data, live) => {
        if (live) this.#delays.heard(data, Date.now());
        this.#take([data]);
      },
    };
  }

  #catchUp(channel: string): void {
    const sources = this.#lists.get(channel);
    if (sources !== undefined) for (const source of sources) void this.#sources.fetch(source);
    else this.#askForRun(channel.split(":")[1] ?? "");
  }

  /** What a run went through between its row and its channel is in its snapshot; several share one request. */
  #askForRun(id: string): void {
    this.#unrecovered.add(id);
    if (this.#unrecovered.size > 1) return;
    this.#gathering = setTimeout(() => {
      const ids = [...this.#unrecovered];
      this.#unrecovered = new Set();
      // A failure costs nothing: the feed has the row, and the next progress is whole.
      this.#snapshots.runs(ids).then(
        (items) => this.#take(items),
        () => undefined,
      );
    }, GATHER_RUNS_MS);
  }

  #take(heard: readonly unknown[]): void {
    this.#heard.push(...heard);
    this.#frames.request();
  }

  /** The moment the connection stops being live is how old the page is from then on. */
  #note(): void {
    const live = this.#isLive();
    if (this.#wasLive && !live) {
      const { missing, wholeAt } = this.#presence;
      this.#freshAt = this.#delays.now(missing.length > 0 ? (wholeAt ?? Date.now()) : Date.now());
      this.#delays.forget();
    }
    this.#wasLive = live;
    this.#frames.request();
  }

  #isLive(): boolean {
    return this.#isConnected() && this.#presence.missing.length === 0;
  }

  #isConnected(): boolean {
    if (!this.#online || this.#transport !== "connected" || !this.#sources.settled) return false;
    return [...this.#lists.keys()].every((channel) => this.#subscribed.has(channel));
  }

  #connection(): Connection {
    if (this.#isLive()) return { state: "live", delaySeconds: this.#delays.medianSeconds() };
    const asOf = this.#freshAt ?? this.#oldestAnswer();
    if (!this.#online || this.#transport === "refused") return { state: "offline", asOf };
    const { missing } = this.#presence;
    if (missing.length > 0 && this.#transport === "connected") return { state: "behind", missing, asOf };
    if (this.#patient && this.#freshAt === null) return { state: "connecting" };
    return { state: "reconnecting", asOf };
  }

  #oldestAnswer(): number | null {
    const times = SOURCES.map((source) => this.#sources.states[source].asOf).filter((time) => time !== null);
    return times.length > 0 ? Math.min(...times) : null;
  }

  #compose(): View {
    const connection = this.#connection();
    const standing = "asOf" in connection ? connection.asOf : null;
    const now = standing ?? this.#delays.now(Date.now());
    return { live: this.#live, sources: this.#sources.states, connection, now };
  }

  #paint(): void {
    const heard = this.#heard;
    this.#heard = [];
    this.#live = forgetOldest(apply(this.#live, heard), MOST_RUNS);
    this.#view = this.#compose();
    for (const listener of this.#listeners) listener();
  }
}
