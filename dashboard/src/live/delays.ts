/** How long events take to the screen, judged by their own time and the server's clock. */

import { instant } from "./http";

const SAMPLES = 9;

export class Delays {
  readonly #aheadMs: number;
  #lags: number[] = [];

  constructor(clockAheadMs: number) {
    this.#aheadMs = clockAheadMs;
  }

  now(local: number): number {
    return local + this.#aheadMs;
  }

  heard(message: unknown, local: number): void {
    const occurredAt = instant((message as { occurred_at?: unknown } | null)?.occurred_at);
    if (occurredAt === null) return;
    this.#lags = [...this.#lags.slice(1 - SAMPLES), Math.max(0, this.now(local) - occurredAt)];
  }

  /** Of the last nine; null until something was heard. */
  medianSeconds(): number | null {
    const sorted = [...this.#lags].sort((a, b) => a - b);
    const middle = sorted[Math.floor(sorted.length / 2)];
    return middle === undefined ? null : middle / 1000;
  }

  forget(): void {
    this.#lags = [];
  }
}
