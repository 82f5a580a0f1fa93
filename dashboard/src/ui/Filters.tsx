import { type ReactNode, type Ref, useEffect, useRef } from "react";
import { count } from "../view/format";
import { type Query, START, type SortKey, toggled } from "../view/query";
import type { Counts } from "../view/rows";
import { type Look, RUN_TYPE_NAMES } from "../view/words";
import { Glyph } from "./Mark";

interface ChipsProps<S extends string> {
  label: string;
  looks: readonly (readonly [S, Look])[];
  /** Null: nobody has said yet. */
  counts: Counts | null;
  chosen: readonly string[];
  /** Shown only when there are some. */
  rare?: readonly S[];
  onChange: (statuses: string[]) => void;
}

/** Counters by status that are the filter too. */
export function StatusChips<S extends string>({ label, looks, counts, chosen, rare, onChange }: ChipsProps<S>) {
  const shown = looks.filter(([status]) => !rare?.includes(status) || counts?.has(status) || chosen.includes(status));
  return (
    <div className="chips" role="group" aria-label={label}>
      {shown.map(([status, look]) => (
        <button
          key={status}
          type="button"
          className={`counter tone-${look.tone}`}
          data-status={status}
          data-none={!counts?.has(status)}
          aria-pressed={chosen.includes(status)}
          onClick={() => onChange(toggled(chosen, status))}
        >
          <Glyph icon={look.icon} />
          <span className="counter-word">{look.word}</span>
          <span className="counter-number number">{counts === null ? "–" : count(counts.get(status) ?? 0)}</span>
        </button>
      ))}
    </div>
  );
}

interface FiltersProps {
  query: Query;
  onChange: (change: Partial<Query>, typing?: boolean) => void;
  children?: ReactNode;
}

const SORT_NAMES: Record<SortKey, string> = {
  created: "Newest",
  elapsed: "Longest",
  instance: "Instance",
  type: "Type",
  status: "Status",
};

export function Filters({ query, onChange, children }: FiltersProps) {
  const search = useSlashToFocus();
  return (
    <div className="filters">
      <label className="search">
        <span className="visually-hidden">Filter by instance, run id, step or error</span>
        <input
          ref={search}
          type="search"
          placeholder="Filter…"
          value={query.text}
          onChange={(event) => onChange({ text: event.target.value }, true)}
        />
        <kbd aria-hidden="true">/</kbd>
      </label>
      <label>
        <span className="visually-hidden">Run type</span>
        <select value={query.type} onChange={(event) => onChange({ type: event.target.value })}>
          <option value="">All types</option>
          {Object.entries(RUN_TYPE_NAMES).map(([type, name]) => (
            <option key={type} value={type}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {query.tab === "runs" && (
        <label className="sort-select">
          <span className="visually-hidden">Sort by</span>
          <select
            value={query.sort}
            onChange={(event) => onChange(ordering(event.target.value as SortKey))}
          >
            {Object.entries(SORT_NAMES).map(([key, name]) => (
              <option key={key} value={key}>
                {name}
              </option>
            ))}
          </select>
        </label>
      )}
      {query.instance !== "" && (
        <button type="button" className="pill" onClick={() => onChange({ instance: "" })}>
          {query.instance} <span aria-hidden="true">×</span>
          <span className="visually-hidden">: show all instances again</span>
        </button>
      )}
      {children}
    </div>
  );
}

/** Numbers and times begin with the largest, words with A. */
export function ordering(sort: SortKey): Partial<Query> {
  return { sort, descending: sort === "elapsed" || sort === "status" || sort === START.sort };
}

function useSlashToFocus(): Ref<HTMLInputElement> {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const focus = (event: KeyboardEvent) => {
      const typing = event.target instanceof Element && event.target.closest("input, select, textarea");
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || typing) return;
      event.preventDefault();
      input.current?.focus();
    };
    document.addEventListener("keydown", focus);
    return () => document.removeEventListener("keydown", focus);
  }, []);
  return input;
}
