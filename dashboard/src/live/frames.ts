/** At most four paints a second: the first change paints at once, those that follow share the next paint. */

export const FRAME_MS = 250;

export class Frames {
  #timer: ReturnType<typeof setTimeout> | null = null;
  #lastAt = Number.NEGATIVE_INFINITY;
  readonly #paint: () => void;

  constructor(paint: () => void) {
    this.#paint = paint;
  }

  request(): void {
    if (this.#timer !== null) return;
    const wait = Math.max(0, this.#lastAt + FRAME_MS - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#lastAt = Date.now();
      this.#paint();
    }, wait);
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
