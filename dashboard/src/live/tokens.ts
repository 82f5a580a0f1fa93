/** Subscription tokens: whatever asks at the same moment shares one request. */

export type FetchTokens = (channels: string[]) => Promise<Record<string, string>>;

interface Waiting {
  resolve: (token: string) => void;
  reject: (error: unknown) => void;
}

const GATHER_MS = 10;
const MOST_CHANNELS = 100;

/** One channel that the server refuses must not cost the others theirs: a refused list is asked again in halves. */
export function batchedTokens(fetchTokens: FetchTokens, isRefusal: (error: unknown) => boolean) {
  let waiting = new Map<string, Waiting[]>();

  async function settle(channels: string[], asked: Map<string, Waiting[]>): Promise<void> {
    try {
      const tokens = await fetchTokens(channels);
      for (const channel of channels) {
        const token = tokens[channel];
        for (const one of asked.get(channel) ?? []) {
          if (token === undefined) one.reject(new Error(`no token for ${channel}`));
          else one.resolve(token);
        }
      }
    } catch (error) {
      if (channels.length > 1 && isRefusal(error)) {
        const middle = Math.ceil(channels.length / 2);
        await Promise.all([settle(channels.slice(0, middle), asked), settle(channels.slice(middle), asked)]);
        return;
      }
      for (const channel of channels) for (const one of asked.get(channel) ?? []) one.reject(error);
    }
  }

  function flush(): void {
    const asked = waiting;
    waiting = new Map();
    const channels = [...asked.keys()];
    for (let from = 0; from < channels.length; from += MOST_CHANNELS) {
      void settle(channels.slice(from, from + MOST_CHANNELS), asked);
    }
  }

  return (channel: string): Promise<string> =>
    new Promise((resolve, reject) => {
      if (waiting.size === 0) setTimeout(flush, GATHER_MS);
      waiting.set(channel, [...(waiting.get(channel) ?? []), { resolve, reject }]);
    });
}
