/** HTTP to the services: bearer token, a time limit, and problems as one error class with a sentence for people. */

export interface Config {
  tenant: string;
  submission: string;
  run_tracker: string;
  lineage: string;
  notifier: string;
  prefect_ui: string | null;
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

export async function readConfig(): Promise<Config> {
  const config = (await readJson("config.json", {})) as Partial<Config>;
  for (const name of ["tenant", "submission", "run_tracker", "lineage", "notifier"] as const) {
    if (typeof config[name] !== "string") throw new Problem(0, `config.json does not say where ${name} is.`);
  }
  return { prefect_ui: null, ...config } as Config;
}

export class Api {
  readonly #token: string;

  constructor(token: string) {
    this.#token = token;
  }

  async page(base: string, path: string): Promise<Page> {
    const answer = await this.get(base, path);
    const list = Object.values(answer).find(Array.isArray) ?? [];
    const next = answer["next_cursor"] ?? answer["cursor"];
    return { items: list, next: typeof next === "string" && next !== "" ? next : null, asOf: instant(answer["as_of"]) };
  }

  async get(base: string, path: string): Promise<Record<string, unknown>> {
    return (await readJson(address(base, path), { headers: this.#headers() })) as Record<string, unknown>;
  }

  async post(base: string, path: string, body: unknown): Promise<Record<string, unknown>> {
    const headers = { ...this.#headers(), "content-type": "application/json" };
    const init = { method: "POST", headers, body: JSON.stringify(body) };
    return (await readJson(address(base, path), init)) as Record<string, unknown>;
  }

  #headers(): Record<string, string> {
    return { accept: "application/json", authorization: `Bearer ${this.#token}` };
  }
}

function address(base: string, path: string): string {
  return base.replace(/\/$/, "") + path;
}

async function readJson(url: string, init: RequestInit): Promise<unknown> {
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
  return answer;
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
