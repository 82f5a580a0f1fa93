/** HTTP to the services: bearer token, a time limit, and problems as one error class with a sentence for people. */

export interface Config {
  /** Only where the token does not say it. */
  tenant: string | null;
  submission: string;
  run_tracker: string;
  lineage: string;
  notifier: string;
  prefect_ui: string | null;
  /** How far the server's clock is ahead of this machine's. */
  clockAheadMs: number;
}

export class Problem extends Error {
  constructor(
    /** 0: nobody answered. */
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** One page of a list: whole entities, where the next page begins, and the server's time of the answer. */
export interface Page {
  items: Record<string, unknown>[];
  next: string | null;
  asOf: number | null;
}

const TIMEOUT_MS = 10_000;

/** A null address is this page's own: behind an ingress all services are one origin. */
export async function readConfig(): Promise<Config> {
  const askedAt = Date.now();
  const { answer, date } = await readJson("config.json", {});
  const config = answer as Partial<Record<keyof Config, string | null>>;
  const { tenant = null, submission, run_tracker, lineage, notifier, prefect_ui = null } = config;
  const services = { submission, run_tracker, lineage, notifier };
  for (const [name, address] of Object.entries(services)) {
    if (address === undefined) throw new Problem(0, `says in config.json nothing of ${name}`);
  }
  const own = (address: string | null | undefined) => address ?? "";
  return {
    tenant,
    submission: own(submission),
    run_tracker: own(run_tracker),
    lineage: own(lineage),
    notifier: own(notifier),
    prefect_ui,
    clockAheadMs: clockAhead(date, askedAt, Date.now()),
  };
}

const SURE_MS = 2_000;

/** The Date header knows whole seconds, so what it can not tell from network time counts as none. */
export function clockAhead(date: string | null, askedAt: number, answeredAt: number): number {
  const said = instant(date);
  if (said === null) return 0;
  const ahead = said + 500 - (askedAt + answeredAt) / 2;
  return Math.abs(ahead) > SURE_MS + (answeredAt - askedAt) ? Math.round(ahead) : 0;
}

const ALIVE_MS = 5_000;

/** Whether a service answers and calls itself alive; an address that knows no `/livez` proves no absence. */
export async function isAlive(base: string): Promise<boolean> {
  try {
    const init: RequestInit = { cache: "no-store", signal: AbortSignal.timeout(ALIVE_MS) };
    return (await fetch(address(base, "/livez"), init)).status < 500;
  } catch {
    return false;
  }
}

export class Api {
  readonly #token: string;

  constructor(token: string) {
    this.#token = token;
  }

  async page(base: string, path: string): Promise<Page> {
    const answer = await this.get(base, path);
    const list = Object.values(answer).find(Array.isArray) ?? [];
    const next = answer["cursor"];
    return { items: list, next: typeof next === "string" && next !== "" ? next : null, asOf: instant(answer["as_of"]) };
  }

  async get(base: string, path: string): Promise<Record<string, unknown>> {
    return (await readJson(address(base, path), { headers: this.#headers() })).answer;
  }

  async post(base: string, path: string, body: unknown): Promise<Record<string, unknown>> {
    const headers = { ...this.#headers(), "content-type": "application/json" };
    const init = { method: "POST", headers, body: JSON.stringify(body) };
    return (await readJson(address(base, path), init)).answer;
  }

  #headers(): Record<string, string> {
    return { accept: "application/json", authorization: `Bearer ${this.#token}` };
  }
}

function address(base: string, path: string): string {
  return base.replace(/\/$/, "") + path;
}

async function readJson(url: string, init: RequestInit) {
  let response: Response;
  try {
    response = await fetch(url, { ...init, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw new Problem(0, late ? `no answer within ${TIMEOUT_MS / 1000} s` : "no connection");
  }
  const answer: unknown = await response.json().catch(() => null);
  if (!response.ok) throw new Problem(response.status, `answered ${response.status}${titleOf(answer)}`);
  if (typeof answer !== "object" || answer === null) throw new Problem(response.status, "answered something else than JSON");
  return { answer: answer as Record<string, unknown>, date: response.headers.get("date") };
}

function titleOf(answer: unknown): string {
  if (typeof answer !== "object" || answer === null) return "";
  const { title, detail } = answer as { title?: unknown; detail?: unknown };
  const text = typeof detail === "string" ? detail : title;
  return typeof text === "string" ? `: ${text}` : "";
}

export function instant(value: unknown): number | null {
  const ms = typeof value === "string" ? Date.parse(value) : Number.NaN;
  return Number.isNaN(ms) ? null : ms;
}
