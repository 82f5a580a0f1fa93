/** Which services answer: asked in the background while somebody looks at the page. */

export type Service = "submission" | "run_tracker" | "lineage" | "notifier";

export const SERVICES: readonly Service[] = ["submission", "run_tracker", "lineage", "notifier"];

export interface PresenceParts {
  /** Whether the service answers and calls itself alive; never rejects. */
  alive: (service: Service) => Promise<boolean>;
  looked: () => boolean;
  onChange: () => void;
}

const CALM_MS = 10_000;
/** One that did not answer is asked again sooner, so that both its going and its return are seen soon. */
const DOUBT_MS = 3_000;
const MISSES = 2;

export class Presence {
  /** Who did not answer twice in a row; one lost answer is no absence. */
  missing: readonly Service[] = [];
  /** When the last round began that all answered: until then the page missed nothing. */
  wholeAt: number | null = null;
  readonly #parts: PresenceParts;
  readonly #misses = new Map<Service, number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Of the asking that counts: what an earlier one hears after a stop changes nothing. */
  #asking = 0;

  constructor(parts: PresenceParts) {
    this.#parts = parts;
  }

  /** Asks at once, and then for as long as it is not stopped. */
  start(): void {
    this.stop();
    void this.#round(this.#asking);
  }

  stop(): void {
    this.#asking++;
    clearTimeout(this.#timer);
  }

  async #round(asking: number): Promise<void> {
    if (this.#parts.looked()) await this.#ask(asking);
    if (asking !== this.#asking) return;
    this.#timer = setTimeout(() => void this.#round(asking), this.#misses.size > 0 ? DOUBT_MS : CALM_MS);
  }

  async #ask(asking: number): Promise<void> {
    const askedAt = Date.now();
    const answers = await Promise.all(SERVICES.map((service) => this.#parts.alive(service)));
    if (asking !== this.#asking) return;
    SERVICES.forEach((service, index) => {
      if (answers[index]) this.#misses.delete(service);
      else this.#misses.set(service, (this.#misses.get(service) ?? 0) + 1);
    });
    if (this.#misses.size === 0) this.wholeAt = askedAt;
    this.missing = SERVICES.filter((service) => (this.#misses.get(service) ?? 0) >= MISSES);
    this.#parts.onChange();
  }
}
