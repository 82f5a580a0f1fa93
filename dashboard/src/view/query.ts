/** What is shown, as the address says it: a link shows others the same. */

export type Tab = "runs" | "waiting";
export type SortKey = "created" | "elapsed" | "instance" | "type" | "status";

export interface Query {
  readonly tab: Tab;
  readonly statuses: readonly string[];
  readonly type: string;
  readonly instance: string;
  readonly text: string;
  readonly sort: SortKey;
  readonly descending: boolean;
}

const SORT_KEYS: readonly SortKey[] = ["created", "elapsed", "instance", "type", "status"];

export const START: Query = {
  tab: "runs",
  statuses: [],
  type: "",
  instance: "",
  text: "",
  sort: "created",
  descending: true,
};

export function parseQuery(search: string): Query {
  const params = new URLSearchParams(search);
  const order = params.get("sort") ?? "-created";
  const key = order.replace(/^-/, "") as SortKey;
  const known = SORT_KEYS.includes(key);
  return {
    tab: params.get("tab") === "waiting" ? "waiting" : "runs",
    statuses: (params.get("status") ?? "").split(",").filter((status) => status !== ""),
    type: params.get("type") ?? "",
    instance: params.get("instance") ?? "",
    text: params.get("q") ?? "",
    sort: known ? key : START.sort,
    descending: known ? order.startsWith("-") : START.descending,
  };
}

/** "" for the page as it starts. */
export function formatQuery(query: Query): string {
  const params = new URLSearchParams();
  if (query.tab !== START.tab) params.set("tab", query.tab);
  if (query.statuses.length > 0) params.set("status", query.statuses.join(","));
  if (query.type !== "") params.set("type", query.type);
  if (query.instance !== "") params.set("instance", query.instance);
  if (query.text !== "") params.set("q", query.text);
  const order = (query.descending ? "-" : "") + query.sort;
  if (order !== "-created") params.set("sort", order);
  const text = params.toString().replaceAll("%2C", ",");
  return text === "" ? "" : `?${text}`;
}

export const isFiltered = (query: Query): boolean =>
  query.statuses.length > 0 || query.type !== "" || query.instance !== "" || query.text !== "";

export const unfiltered = (query: Query): Query => ({
  ...query,
  statuses: [],
  type: "",
  instance: "",
  text: "",
});

export function toggled(statuses: readonly string[], status: string): string[] {
  return statuses.includes(status) ? statuses.filter((one) => one !== status) : [...statuses, status];
}
