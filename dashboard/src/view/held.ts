/**
 * A list that stands still under the reader. At its top it follows the newest order; scrolled, the rows shown keep
 * their places, what would come above or between is counted, and what comes after the last is appended.
 */

export interface Held {
  readonly ids: readonly string[];
  readonly waiting: number;
}

export function hold(shown: readonly string[], fresh: readonly string[], existing: ReadonlySet<string>): Held {
  const kept = shown.filter((id) => existing.has(id));
  const known = new Set(kept);
  const last = fresh.findLastIndex((id) => known.has(id));
  const below = fresh.slice(last + 1).filter((id) => !known.has(id));
  const waiting = fresh.slice(0, last + 1).filter((id) => !known.has(id)).length;
  return last === -1 ? { ids: fresh, waiting: 0 } : { ids: [...kept, ...below], waiting };
}
