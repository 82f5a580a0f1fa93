/** The one adapter of centrifuge-js. Everything it hears goes on as one of five events; it knows no business word. */

import { Centrifuge, type Subscription, UnauthorizedError } from "centrifuge";
import { type Api, Problem } from "./http";
import { batchedTokens } from "./tokens";

export interface RealtimeEvents {
  /** `refused`: it will not try again by itself. */
  onTransport(state: "connecting" | "connected" | "refused"): void;
  /** Not recovered: something may have been missed, so ask for a snapshot. */
  onSubscribed(channel: string, recovered: boolean): void;
  onUnsubscribed(channel: string): void;
  /** `live` is false for what is delivered late, after a break. */
  onMessage(data: unknown, live: boolean): void;
  onUnauthorized(): void;
}

export interface Realtime {
  start(): void;
  /** Exactly these channels; what is subscribed already stays. */
  setChannels(channels: ReadonlySet<string>): void;
  stop(): void;
}

export type RealtimeFactory = (events: RealtimeEvents) => Realtime;

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5_000;

export class CentrifugeRealtime implements Realtime {
  readonly #api: Api;
  readonly #notifier: string;
  readonly #events: RealtimeEvents;
  readonly #tokenOf: (channel: string) => Promise<string>;
  #channels: ReadonlySet<string> = new Set();
  #client: Centrifuge | null = null;
  #retry: ReturnType<typeof setTimeout> | null = null;
  #stopped = false;

  constructor(api: Api, notifier: string, events: RealtimeEvents) {
    this.#api = api;
    this.#notifier = notifier;
    this.#events = events;
    this.#tokenOf = batchedTokens(
      async (channels) => {
        const answer = await this.#api.post(this.#notifier, "/v1/realtime/subscribe", { channels });
        return (answer["tokens"] ?? {}) as Record<string, string>;
      },
      (error) => error instanceof Problem && [400, 403, 404, 422].includes(error.status),
    );
  }

  start(): void {
    this.#stopped = false;
    this.#events.onTransport("connecting");
    void this.#open(FIRST_RETRY_MS);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    if (this.#client !== null) {
      forget(this.#client);
      this.#client.disconnect();
    }
    this.#client = null;
  }

  setChannels(channels: ReadonlySet<string>): void {
    this.#channels = channels;
    const client = this.#client;
    if (client === null) return;
    for (const [channel, subscription] of Object.entries(client.subscriptions())) {
      if (!channels.has(channel)) {
        forget(subscription);
        client.removeSubscription(subscription);
      }
    }
    for (const channel of channels) if (client.getSubscription(channel) === null) this.#subscribe(client, channel);
  }

  async #open(retryMs: number): Promise<void> {
    try {
      const { url, token } = await this.#connection();
      if (this.#stopped) return;
      this.#connect(url, token);
    } catch (error) {
      if (this.#stopped || error instanceof UnauthorizedError) return;
      this.#retry = setTimeout(() => void this.#open(Math.min(retryMs * 2, LAST_RETRY_MS)), retryMs);
    }
  }

  async #connection(): Promise<{ url: string; token: string }> {
    try {
      const answer = await this.#api.post(this.#notifier, "/v1/realtime/connect", {});
      return answer as { url: string; token: string };
    } catch (error) {
      if (error instanceof Problem && error.status === 401) {
        this.#events.onUnauthorized();
        throw new UnauthorizedError("the token was not accepted");
      }
      throw error;
    }
  }

  #connect(url: string, token: string): void {
    const client = new Centrifuge(url, {
      token,
      getToken: async () => (await this.#connection()).token,
      minReconnectDelay: FIRST_RETRY_MS,
      maxReconnectDelay: LAST_RETRY_MS,
    });
    client.on("connecting", () => this.#events.onTransport("connecting"));
    client.on("connected", () => this.#events.onTransport("connected"));
    client.on("disconnected", () => this.#events.onTransport("refused"));
    this.#client = client;
    this.setChannels(this.#channels);
    client.connect();
  }

  #subscribe(client: Centrifuge, channel: string): void {
    const subscription: Subscription = client.newSubscription(channel, {
      getToken: () => this.#tokenOf(channel),
    });
    let recovering = false;
    subscription.on("subscribed", (context) => {
      // What was missed is delivered in this same turn, right after this event.
      recovering = true;
      setTimeout(() => (recovering = false), 0);
      this.#events.onSubscribed(channel, context.recovered);
    });
    subscription.on("subscribing", () => this.#events.onUnsubscribed(channel));
    subscription.on("unsubscribed", () => this.#events.onUnsubscribed(channel));
    subscription.on("publication", (context) => this.#events.onMessage(context.data, !recovering));
    subscription.subscribe();
  }
}

/** What is under way may still fail, and an error that nobody listens to would be thrown. */
function forget(heard: { removeAllListeners(): unknown; on(event: "error", listener: () => void): unknown }): void {
  heard.removeAllListeners();
  heard.on("error", () => undefined);
}
