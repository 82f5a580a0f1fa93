/** The server's clock, judged by its answers, and how long events take to the screen, judged by their own time. */

import { instant } from "./http";

const SAMPLES = 9;

export class Delays {
  #offsetMs = 0;
  #uncertaintyMs = Number.POSITIVE_INFINITY;
  #lags: number[] = [];

  /** An answer that said "it is `asOf` here"; the quickest one is the best witness. */
  clock(asOf: number, askedAt: number, answeredAt: number): void {
    const uncertainty = (answeredAt - askedAt) / 2;
    if (uncertainty > this.#uncertaintyMs) return;
    this.#uncertaintyMs = uncertainty;
    this.#offsetMs = asOf - (askedAt + uncertainty);
  }

  now(local: number): number {
    return local + this.#offsetMs;
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
