import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Presence, SERVICES, type Service } from "./presence";

let down: Set<Service>;
let asked: Service[];
let looked: boolean;
let presence: Presence;

beforeEach(() => {
  vi.useFakeTimers();
  down = new Set();
  asked = [];
  looked = true;
  presence = new Presence({
    alive: async (service) => {
      asked.push(service);
      return !down.has(service);
    },
    looked: () => looked,
    onChange: () => undefined,
  });
  presence.start();
});

afterEach(() => {
  presence.stop();
  vi.useRealTimers();
});

const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1_000);

it("misses nobody while all answer, and asks each once in ten seconds", async () => {
  await pass(29);
  expect(presence.missing).toEqual([]);
  expect(asked).toHaveLength(3 * SERVICES.length);
});

it("names who did not answer twice in a row, until they answer again", async () => {
  await pass(1);
  down = new Set(["notifier", "lineage"]);
  await pass(13);
  expect(presence.missing).toEqual(["lineage", "notifier"]);
  down = new Set(["lineage"]);
  await pass(3);
  expect(presence.missing).toEqual(["lineage"]);
  down = new Set();
  await pass(3);
  expect(presence.missing).toEqual([]);
});

it("takes one lost answer for no absence", async () => {
  await pass(1);
  down = new Set(["notifier"]);
  await pass(10);
  down = new Set();
  await pass(3);
  down = new Set(["notifier"]);
  await pass(10);
  expect(presence.missing).toEqual([]);
});

it("knows since when it can not be sure", async () => {
  await pass(1);
  const wholeAt = presence.wholeAt;
  expect(wholeAt).toBe(Date.now() - 1_000);
  down = new Set(["notifier"]);
  await pass(60);
  expect(presence.wholeAt).toBe(wholeAt);
});

it("asks nobody while nobody looks, nor after it was stopped", async () => {
  await pass(1);
  asked = [];
  looked = false;
  await pass(60);
  expect(asked).toEqual([]);
  looked = true;
  presence.start();
  presence.stop();
  await pass(60);
  expect(asked).toHaveLength(SERVICES.length);
});
