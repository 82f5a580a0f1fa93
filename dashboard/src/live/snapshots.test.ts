import { expect, it } from "vitest";
import { type Api, type Config, clockAhead, type Page } from "./http";
import { HttpSnapshots } from "./snapshots";

const CONFIG = { run_tracker: "t", submission: "s", lineage: "l" } as Config;

/** Pages of two, newest first; asking by status finds the open one at the end. */
function tracker(ids: string[]) {
  const asked: string[] = [];
  const page = async (_: string, path: string): Promise<Page> => {
    asked.push(path);
    const query = new URLSearchParams(path.split("?")[1]);
    if (query.get("status") === "running") return { items: [{ run_id: "old-and-running" }], next: null, asOf: null };
    if (query.has("status")) return { items: [], next: null, asOf: null };
    const from = Number(query.get("cursor") ?? 0);
    const next = from + 2 < ids.length ? String(from + 2) : null;
    return { items: ids.slice(from, from + 2).map((run_id) => ({ run_id })), next, asOf: 1 };
  };
  return { asked, snapshots: new HttpSnapshots({ page } as unknown as Api, CONFIG) };
}

it("asks once when the newest page has everything", async () => {
  const { asked, snapshots } = tracker(["a", "b"]);
  const { items, older } = await snapshots.newest("runs", new Set());
  expect(items).toMatchObject([{ run_id: "a", type: "run.status_changed" }, { run_id: "b" }]);
  expect([older, asked.length]).toEqual([null, 1]);
});

it("also asks for what is open and older than the newest page", async () => {
  const { snapshots } = tracker(["a", "b", "c"]);
  const { items, older } = await snapshots.newest("runs", new Set());
  expect(items).toMatchObject([{ run_id: "a" }, { run_id: "b" }, { run_id: "old-and-running" }]);
  expect(older).toBe("2");
});

it("reads on after a break until it has met every row it holds", async () => {
  const { snapshots } = tracker(["a", "b", "c", "d", "e", "f"]);
  const { items } = await snapshots.newest("runs", new Set(["d"]));
  expect(items.map((item) => (item as { run_id: string }).run_id)).toEqual(["a", "b", "c", "d", "old-and-running"]);
});

it("judges the server's clock by whole seconds, and believes no difference below two", () => {
  const at = Date.parse("2025-01-15T14:00:00Z");
  expect(clockAhead("Wed, 15 Jan 2025 14:00:01 GMT", at, at + 40)).toBe(0);
  expect(clockAhead("Wed, 15 Jan 2025 14:01:00 GMT", at, at + 40)).toBe(60_480);
  expect(clockAhead(null, at, at)).toBe(0);
});
