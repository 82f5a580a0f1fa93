/** The three HTTP lists: fetched when owed, once at a time, and again after a failure until they answer. */

import { Problem } from "./http";
import type { Fetched, Snapshots, Source } from "./snapshots";

/** Where a source stands. `failedSince` set and `loaded`: what is shown may be old, and says so. */
export interface SourceState {
  readonly loaded: boolean;
  readonly loading: boolean;
  readonly failedSince: number | null;
  readonly problem: string | null;
  readonly asOf: number | null;
  /** Where the older ones begin; null: all are here. */
  readonly older: string | null;
}

export type SourceStates = Readonly<Record<Source, SourceState>>;

export interface SourceEvents {
  held(source: Source): ReadonlySet<string>;
  onItems(items: readonly unknown[]): void;
  onChange(): void;
}

export const SOURCES: readonly Source[] = ["runs", "requests", "instances"];

const UNKNOWN: SourceState = { loaded: false, loading: true, failedSince: null, problem: null, asOf: null, older: null };
const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 30_000;

export class Sources {
  states: SourceStates = { runs: UNKNOWN, requests: UNKNOWN, instances: UNKNOWN };
  readonly #snapshots: Snapshots;
  readonly #events: SourceEvents;
  readonly #fetching = new Set<Source>();
  /** Asked for while one was under way: that one may have been answered too early. */
  readonly #again = new Set<Source>();
  readonly #owed = new Set<Source>(SOURCES);
  readonly #retryMs = new Map<Source, number>();
  readonly #retries = new Map<Source, ReturnType<typeof setTimeout>>();
  #stopped = false;

  constructor(snapshots: Snapshots, events: SourceEvents) {
    this.#snapshots = snapshots;
    this.#events = events;
  }

  /** Every snapshot that was owed has come, or has failed and says so (it is then tried again without being owed). */
  get settled(): boolean {
    return this.#owed.size === 0;
  }

  /** What is shown may have missed something, until a snapshot that begins now has come. */
  fetch(source: Source): Promise<void> {
    this.#owed.add(source);
    return this.#run(source);
  }

  async #run(source: Source): Promise<void> {
    if (this.#fetching.has(source)) {
      this.#again.add(source);
      return;
    }
    clearTimeout(this.#retries.get(source));
    this.#fetching.add(source);
    do {
      this.#again.delete(source);
      await this.#take(source, () => this.#snapshots.newest(source, this.#events.held(source)));
    } while (this.#again.has(source) && !this.#stopped);
    this.#fetching.delete(source);
    this.#owed.delete(source);
    this.#events.onChange();
  }

  async older(source: Source): Promise<void> {
    const { older } = this.states[source];
    if (older === null || this.#fetching.has(source)) return;
    this.#fetching.add(source);
    await this.#take(source, () => this.#snapshots.older(source, older));
    this.#fetching.delete(source);
    if (this.#again.delete(source)) await this.#run(source);
  }

  start(): void {
    this.#stopped = false;
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#retries.values()) clearTimeout(timer);
  }

  async #take(source: Source, ask: () => Promise<Fetched>): Promise<void> {
    const askedAt = Date.now();
    this.#set(source, { loading: true });
    try {
      const { items, older, asOf } = await ask();
      if (this.#stopped) return;
      this.#retryMs.delete(source);
      this.#events.onItems(items);
      this.#set(source, { loaded: true, loading: false, failedSince: null, problem: null, asOf: asOf ?? askedAt, older });
    } catch (error) {
      if (this.#stopped) return;
      const problem = error instanceof Problem ? error.message : "gave an answer that this page can not read";
      this.#set(source, { loading: false, failedSince: this.states[source].failedSince ?? Date.now(), problem });
      const wait = this.#retryMs.get(source) ?? FIRST_RETRY_MS;
      this.#retryMs.set(source, Math.min(wait * 2, LAST_RETRY_MS));
      this.#retries.set(
        source,
        setTimeout(() => void this.#run(source), wait),
      );
    }
  }

  #set(source: Source, change: Partial<SourceState>): void {
    this.states = { ...this.states, [source]: { ...this.states[source], ...change } };
    this.#events.onChange();
  }
}
