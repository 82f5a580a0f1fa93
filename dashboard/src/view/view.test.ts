import { describe, expect, it } from "vitest";
import type { RequestStatusChanged, RunStatusChanged } from "../contract";
import { apply, NOTHING, type Run, runsOf } from "../live/store";
import { duration, relative, wallTime } from "./format";
import { headline } from "./headline";
import { hold } from "./held";
import { formatQuery, parseQuery, START } from "./query";
import { backfillPercent, countByStatus, elapsedSeconds, matching, sorted, withStatus } from "./rows";

function run(id: string, fields: Partial<RunStatusChanged> = {}): Run {
  const message = {
    type: "run.status_changed",
    run_id: id,
    run_type: "PipelineRun",
    instance_name: "prices",
    status: "running",
    occurred_at: "2025-01-15T14:00:00Z",
    seq: 1,
    ...fields,
  };
  return runsOf(apply(NOTHING, [message]))[0] as Run;
}

describe("the address", () => {
  it("says nothing for the page as it starts", () => expect(formatQuery(START)).toBe(""));

  it("comes back as it went", () => {
    const query = parseQuery("?tab=waiting&status=parked,refused&type=BacktestRun&instance=prices&q=abc&sort=elapsed");
    expect(query).toMatchObject({ tab: "waiting", statuses: ["parked", "refused"], sort: "elapsed", descending: false });
    expect(parseQuery(formatQuery(query))).toEqual(query);
  });

  it("with an unknown order is read as the newest first", () => {
    expect(parseQuery("?sort=-beauty")).toMatchObject({ sort: "created", descending: true });
  });
});

describe("a time on somebody's wall", () => {
  const six = Date.parse("2025-01-15T23:00:00Z");
  it("is that of the zone, with its place", () => {
    expect(wallTime(six, Date.parse("2025-01-15T14:00:00Z"), "America/New_York")).toBe("18:00 New York");
  });
  it("names the day where it is another one there", () => {
    expect(wallTime(six, Date.parse("2025-01-15T14:00:00Z"), "Asia/Tokyo")).toBe("16 Jan, 08:00 Tokyo");
  });
});

describe("elapsed", () => {
  const now = Date.parse("2025-01-15T14:01:00Z");
  it("ticks by event time while the run is open", () => {
    expect(elapsedSeconds(run("a", { started_at: "2025-01-15T14:00:18Z" }), now)).toBe(42);
  });
  it("is what was measured once it ended, and nothing where no start is known", () => {
    expect(elapsedSeconds(run("a", { status: "completed", duration_seconds: 3.2 }), now)).toBe(3.2);
    expect(elapsedSeconds(run("a", { status: "failed", ended_at: "2025-01-15T14:00:00Z" }), now)).toBeNull();
  });
});

describe("rows", () => {
  const rows = [
    run("a", { instance_name: "prices", occurred_at: "2025-01-15T14:00:01Z" }),
    run("b", { instance_name: "momentum", status: "failed", occurred_at: "2025-01-15T14:00:03Z" }),
    run("c", { instance_name: "Alpha", status: "completed", occurred_at: "2025-01-15T14:00:02Z" }),
  ];
  const ids = (of: readonly Run[]) => of.map((one) => one.run_id).join("");

  it("sort both ways by each key", () => {
    expect(ids(sorted(rows, "created", true, 0))).toBe("bca");
    expect(ids(sorted(rows, "created", false, 0))).toBe("acb");
    expect(ids(sorted(rows, "instance", false, 0))).toBe("cba");
    expect(ids(sorted(rows, "status", true, 0))).toBe("abc");
  });

  it("filter by text, instance and status, and count by status", () => {
    expect(ids(matching(rows, { ...START, text: "MOM" }))).toBe("b");
    expect(ids(matching(rows, { ...START, instance: "prices" }))).toBe("a");
    expect(ids(withStatus(rows, ["failed", "completed"]))).toBe("bc");
    expect(Object.fromEntries(countByStatus(rows))).toEqual({ running: 1, failed: 1, completed: 1 });
  });
});

describe("a list that is scrolled", () => {
  const all = (ids: string) => new Set(ids);
  it("keeps its rows in place and counts what would come above", () => {
    expect(hold([..."cba"], [..."edcba"], all("abcde"))).toEqual({ ids: [..."cba"], waiting: 2 });
  });
  it("keeps a row that a filter would take away, until it is let go", () => {
    expect(hold([..."cba"], [..."ca"], all("abc"))).toEqual({ ids: [..."cba"], waiting: 0 });
  });
  it("appends what is older, and drops what is gone", () => {
    expect(hold([..."cb"], [..."dcba"], all("acd"))).toEqual({ ids: [..."cba"], waiting: 1 });
  });
  it("starts anew when nothing of it is left", () => {
    expect(hold([..."xy"], [..."ba"], all("ab"))).toEqual({ ids: [..."ba"], waiting: 0 });
  });
});

it("a backfill is as far as its dates have ended, however they did; other requests are not on that scale", () => {
  const request = (progress: RequestStatusChanged["progress"]) => ({ progress }) as RequestStatusChanged;
  expect(backfillPercent(request({ total: 60, done: 12, failed: 2, cancelled: 1, open: 2 }))).toBe(25);
  expect(backfillPercent(request({ total: 60 }))).toBe(0);
  expect(backfillPercent(request(null))).toBeNull();
});

it("times read as people say them", () => {
  expect([0.42, 9.97, 42.9, 185, 7620, 273600].map((seconds) => duration(seconds))).toEqual([
    "0.4 s",
    "9 s",
    "42 s",
    "3 m 05 s",
    "2 h 07 m",
    "3 d 4 h",
  ]);
  expect(relative(61_000, 0)).toBe("in 1 m 01 s");
});

it("each run type has its headline", () => {
  expect(headline(run("a", { metrics: { rows_added: 1204 } }))).toEqual({ value: "+1,204", label: "rows" });
  expect(headline(run("a", { run_type: "BacktestRun", metrics: { sharpe_ratio: 1.234 } }))?.value).toBe("1.23");
  expect(headline(run("a", { run_type: "MonitoringRun", metrics: { psi: 0.1, alerts: ["x"] } }))?.label).toBe("alert");
  expect(headline(run("a", { metrics: { rows_added: "many" } }))).toBeNull();
});
