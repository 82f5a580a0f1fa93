/** The lists by HTTP, as messages for the store. */

import type { Api, Config } from "./http";
import type { Message, MessageType } from "./store";

export type Source = "runs" | "requests" | "instances";

export interface Fetched {
  items: readonly unknown[];
  older: string | null;
  asOf: number | null;
}

export interface Snapshots {
  /** The newest page, more pages as long as one of the `held` was not met, and whatever is still open. */
  newest(source: Source, held: ReadonlySet<string>): Promise<Fetched>;
  older(source: Source, cursor: string): Promise<Fetched>;
  runs(ids: readonly string[]): Promise<readonly unknown[]>;
}

interface Shape {
  service: "run_tracker" | "submission" | "lineage";
  path: string;
  type: MessageType;
  id: "run_id" | "instance_id";
  /** What may still change, in as few questions as the service can answer. */
  open: readonly string[];
}

const SHAPES: Record<Source, Shape> = {
  runs: {
    service: "run_tracker",
    path: "/v1/runs",
    type: "run.status_changed",
    id: "run_id",
    open: ["running", "pending"],
  },
  requests: {
    service: "submission",
    path: "/v1/requests",
    type: "request.status_changed",
    id: "run_id",
    open: ["requested,parked,admitted"],
  },
  instances: { service: "lineage", path: "/v1/instances", type: "instance.status_changed", id: "instance_id", open: [] },
};

const LIMIT = 100;
export const MOST_PAGES = 20;
/** Up to so many runs are asked for one by one. */
const FEW = 3;

export class HttpSnapshots implements Snapshots {
  readonly #api: Api;
  readonly #config: Config;

  constructor(api: Api, config: Config) {
    this.#api = api;
    this.#config = config;
  }

  async newest(source: Source, held: ReadonlySet<string>): Promise<Fetched> {
    const { id, open } = SHAPES[source];
    const missing = new Set(held);
    const first = await this.#page(source, "");
    const items = [...first.items];
    let older = first.older;
    for (const item of items) missing.delete(String(item[id]));
    for (let pages = 1; older !== null && pages < MOST_PAGES && (missing.size > 0 || open.length === 0); pages++) {
      const page = await this.#page(source, `&cursor=${encodeURIComponent(older)}`);
      for (const item of page.items) missing.delete(String(item[id]));
      items.push(...page.items);
      older = page.older;
    }
    if (older !== null) {
      const pages = await Promise.all(open.map((status) => this.#page(source, `&status=${status}`)));
      items.push(...pages.flatMap((page) => page.items));
    }
    return { items, older, asOf: first.asOf };
  }

  older(source: Source, cursor: string): Promise<Fetched> {
    return this.#page(source, `&cursor=${encodeURIComponent(cursor)}`);
  }

  async runs(ids: readonly string[]): Promise<readonly unknown[]> {
    if (ids.length > FEW) return (await this.#page("runs", "")).items;
    const { service, path, type } = SHAPES.runs;
    const runs = await Promise.all(ids.map((id) => this.#api.get(this.#config[service], `${path}/${id}`)));
    return runs.map((run) => ({ ...run, type }));
  }

  async #page(source: Source, query: string) {
    const { service, path, type } = SHAPES[source];
    const page = await this.#api.page(this.#config[service], `${path}?limit=${LIMIT}${query}`);
    const items = page.items.map((item) => ({ ...item, type }) as unknown as Message & Record<string, unknown>);
    return { items, older: page.next, asOf: page.asOf };
  }
}
