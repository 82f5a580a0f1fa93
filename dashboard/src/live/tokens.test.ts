import { expect, it } from "vitest";
import { batchedTokens } from "./tokens";

const refusal = new Error("404");

it("asks once for all channels that are wanted at the same moment", async () => {
  const requests: string[][] = [];
  const tokenOf = batchedTokens(
    async (channels) => {
      requests.push(channels);
      return Object.fromEntries(channels.map((channel) => [channel, `token of ${channel}`]));
    },
    () => false,
  );
  expect(await Promise.all(["a", "b", "c"].map(tokenOf))).toEqual(["token of a", "token of b", "token of c"]);
  expect(await tokenOf("a")).toBe("token of a");
  expect(requests).toEqual([["a", "b", "c"], ["a"]]);
});

it("does not let one refused channel cost the others theirs", async () => {
  const tokenOf = batchedTokens(
    async (channels) => {
      if (channels.includes("bad")) throw refusal;
      return Object.fromEntries(channels.map((channel) => [channel, channel]));
    },
    (error) => error === refusal,
  );
  const results = await Promise.allSettled(["a", "bad", "b", "c"].map(tokenOf));
  expect(results.map((result) => result.status)).toEqual(["fulfilled", "rejected", "fulfilled", "fulfilled"]);
});
