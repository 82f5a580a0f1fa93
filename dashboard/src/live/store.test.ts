import { describe, expect, it } from "vitest";
import type { InstanceStatusChanged, RequestStatusChanged, RunProgressed, RunStatusChanged } from "../contract";
import { apply, forgetOldest, type Live, NOTHING, runsOf } from "./store";

const at = (second: number) => new Date(Date.UTC(2025, 0, 15, 14, 0, second)).toISOString();

function status(seq: number, fields: Partial<RunStatusChanged> = {}): RunStatusChanged {
  return {
    type: "run.status_changed",
    tenant: "acme",
    run_id: "r1",
    run_type: "PipelineRun",
    instance_id: "i1",
    instance_name: "prices",
    flow_kind: "refresh",
    status: "running",
    occurred_at: at(seq),
    seq,
    ...fields,
  };
}

function progress(seq: number, pct: number, fields: Partial<RunProgressed> = {}): RunProgressed {
  return {
    type: "run.progressed",
    tenant: "acme",
    run_id: "r1",
    instance_id: "i1",
    status: "running",
    progress_pct: pct,
    step: `step ${pct}`,
    occurred_at: at(seq),
    seq,
    ...fields,
  };
}

function request(seq: number, fields: Partial<RequestStatusChanged> = {}): RequestStatusChanged {
  return {
    type: "request.status_changed",
    tenant: "acme",
    run_id: "r1",
    status: "parked",
    occurred_at: at(seq),
    seq,
    ...fields,
  };
}

function instance(seq: number, fields: Partial<InstanceStatusChanged> = {}): InstanceStatusChanged {
  return {
    type: "instance.status_changed",
    tenant: "acme",
    instance_id: "i1",
    name: "prices",
    instance_type: "DatasetInstance",
    status: "ready",
    occurred_at: at(seq),
    seq,
    ...fields,
  };
}

function* permutations<T>(items: readonly T[]): Generator<T[]> {
  if (items.length <= 1) yield [...items];
  for (const [index, item] of items.entries()) {
    const rest = [...items.slice(0, index), ...items.slice(index + 1)];
    for (const tail of permutations(rest)) yield [item, ...tail];
  }
}

const oneByOne = (messages: Iterable<unknown>) => [...messages].reduce<Live>((live, one) => apply(live, [one]), NOTHING);
const rows = (live: Live) => ({
  runs: runsOf(live),
  requests: [...live.requests.values()],
  instances: [...live.instances.values()],
});

/** A run with a retry, as the topics carry it; the last one and one progress also come by HTTP. */
const LIFE = [
  status(1, { status: "pending" }),
  status(2, { started_at: at(2) }),
  progress(3, 40),
  { ...status(3, { started_at: at(2), progress_pct: 40, step: "step 40" }), as_of: at(4) },
  progress(5, 80),
  status(6, { status: "completed", progress_pct: 100, ended_at: at(6) }),
  { ...status(6, { status: "completed", progress_pct: 100, ended_at: at(6) }), as_of: at(9) },
];

/** The control: whoever comes last is right. */
function lastArrivalWins(messages: readonly (RunStatusChanged | RunProgressed)[]): unknown {
  return messages.reduce<object>((row, message) => ({ ...row, ...message }), {});
}

describe("the rows", () => {
  it("are the same after every order of arrival, one by one or in one batch", () => {
    const expected = rows(oneByOne(LIFE)).runs.map(({ seq, status, progress_pct, since }) => ({
      seq,
      status,
      progress_pct,
      since,
    }));
    expect(expected).toEqual([{ seq: 6, status: "completed", progress_pct: 100, since: Date.parse(at(1)) }]);
    for (const order of permutations(LIFE)) {
      for (const live of [oneByOne(order), apply(NOTHING, order)]) {
        expect(rows(live).runs).toMatchObject(expected);
      }
    }
  });

  it("would differ without the rule (control)", () => {
    const endings = new Set([...permutations(LIFE)].map((order) => JSON.stringify(lastArrivalWins(order))));
    expect(endings.size).toBeGreaterThan(1);
  });

  it("show a run that was reopened after its end, in every order", () => {
    const life = [
      status(4, { status: "failed", ended_at: at(4) }),
      status(5, { attempt: 2, supersedes: 4 } as Partial<RunStatusChanged>),
      progress(6, 10, { attempt: 2 }),
      progress(3, 90),
    ];
    for (const order of permutations(life)) {
      expect(runsOf(oneByOne(order))).toMatchObject([{ seq: 6, status: "running", attempt: 2, progress_pct: 10 }]);
    }
  });

  it("keep request and run of one id apart", () => {
    const messages = [request(3, { status: "launched" }), status(1), request(2), instance(2), instance(1)];
    for (const order of permutations(messages)) {
      const live = oneByOne(order);
      expect(live.requests.get("r1")).toMatchObject({ seq: 3, status: "launched" });
      expect(runsOf(live)).toMatchObject([{ seq: 1 }]);
      expect(live.instances.get("i1")).toMatchObject({ seq: 2 });
    }
  });

  it("survive random interleavings of many runs with repetitions", () => {
    let state = 7;
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
    const history = Array.from({ length: 12 }, (_, run) =>
      Array.from({ length: 15 }, (_, index) => {
        const fields = { run_id: `r${run}` };
        return random() < 0.6 ? progress(index + 1, index, fields) : status(index + 1, { ...fields, progress_pct: index });
      }),
    ).flat();
    const expected = sorted(apply(NOTHING, history));
    for (let round = 0; round < 200; round++) {
      const shuffled = [...history, ...history.filter(() => random() < 0.3)]
        .map((message) => ({ message, place: random() }))
        .sort((a, b) => a.place - b.place)
        .map(({ message }) => message);
      expect(sorted(oneByOne(shuffled))).toEqual(expected);
    }
  });
});

const sorted = (live: Live) => runsOf(live).sort((a, b) => a.run_id.localeCompare(b.run_id));

describe("a message", () => {
  it("of progress is dropped when it is not newer than the status at hand", () => {
    const live = apply(NOTHING, [status(5, { status: "completed", progress_pct: 100 })]);
    expect(apply(live, [progress(4, 60)])).toBe(live);
    expect(apply(live, [progress(5, 60)])).toBe(live);
  });

  it("of progress makes no row before the run is known", () => {
    const live = apply(NOTHING, [progress(3, 40)]);
    expect(runsOf(live)).toEqual([]);
    expect(runsOf(apply(live, [status(2)]))).toMatchObject([{ progress_pct: 40, instance_name: "prices" }]);
  });

  it("that is no news changes nothing, not even identity", () => {
    const live = apply(NOTHING, [status(2), request(2), instance(2)]);
    expect(apply(live, [status(2), status(1, { occurred_at: at(9) }), request(1), instance(2)])).toBe(live);
  });

  it("about one run leaves the other rows untouched", () => {
    const live = apply(NOTHING, [status(1), status(1, { run_id: "r2" })]);
    const after = apply(live, [status(2)]);
    expect(after.runs.get("r2")).toBe(live.runs.get("r2"));
    expect(after.requests).toBe(live.requests);
  });

  it("that was truncated is replaced by the whole one of the same seq, in both orders", () => {
    const whole = status(4, { metrics: { rows_added: 7 } });
    const cut = { ...status(4), truncated: true };
    for (const order of permutations([whole, cut])) {
      expect(runsOf(oneByOne(order))).toMatchObject([{ metrics: { rows_added: 7 } }]);
    }
  });

  it("of an unknown type, without id or without seq is passed over", () => {
    const strange = [null, 1, "x", {}, { type: "run.dreamt", run_id: "r1", seq: 9 }, { ...status(9), seq: "9" }];
    expect(apply(NOTHING, [...strange, { ...status(9), run_id: undefined }])).toBe(NOTHING);
  });
});

it("forgets the oldest ended runs and never an open one", () => {
  const runs = Array.from({ length: 6 }, (_, index) =>
    status(1, { run_id: `r${index}`, occurred_at: at(index), status: index === 0 ? "running" : "completed" }),
  );
  const kept = runsOf(forgetOldest(apply(NOTHING, runs), 3)).map((run) => run.run_id);
  expect(kept.sort()).toEqual(["r0", "r4", "r5"]);
});
