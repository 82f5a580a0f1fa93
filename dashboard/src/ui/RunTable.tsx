import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { isOpen, type Run } from "../live/store";
import { plural } from "../view/format";
import { hold } from "../view/held";
import type { Query, SortKey } from "../view/query";
import { ordering } from "./Filters";
import { RunRow } from "./RunRow";
import { useInView, useScrolledPast } from "./visibility";

interface RunTableProps {
  /** Filtered and in order. */
  runs: readonly Run[];
  all: ReadonlyMap<string, Run>;
  query: Query;
  now: number;
  prefectUi: string | null;
  onSort: (change: Partial<Query>) => void;
  onInView: (runIds: string[]) => void;
}

const COLUMNS: readonly (readonly [className: string, title: string, sort: SortKey | null])[] = [
  ["c-status", "Status", "status"],
  ["c-run", "Instance", "instance"],
  ["c-progress", "Progress", null],
  ["c-headline", "Result", null],
  ["c-trigger", "Trigger", null],
  ["c-created", "Created", "created"],
  ["c-elapsed", "Elapsed", "elapsed"],
  ["c-link", "Prefect", null],
];

export function RunTable({ runs, all, query, now, prefectUi, onSort, onInView }: RunTableProps) {
  const [top, scrolled] = useScrolledPast();
  const { ids, waiting } = useHeld(runs, all, query, scrolled);
  const arrived = useArrivals(ids, query);
  const rows = ids.map((id) => all.get(id)).filter((run) => run !== undefined);
  const watched = useInView(onInView);
  const second = Math.floor(now / 1000) * 1000;
  const today = new Date(now).toDateString();

  const release = () => {
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    window.scrollTo({ top: 0, behavior: still ? "auto" : "smooth" });
  };

  return (
    <div className="table-wrap">
      <div ref={top} className="sentinel" aria-hidden="true" />
      {waiting > 0 && (
        <div className="fresh">
          <button type="button" className="primary" onClick={release} data-testid="fresh">
            {plural(waiting, "new run")} <span aria-hidden="true">↑</span>
          </button>
        </div>
      )}
      <table className="runs" role="table" aria-label="Runs" aria-rowcount={rows.length + 1}>
        <thead role="rowgroup">
          <tr role="row" aria-rowindex={1}>
            {COLUMNS.map(([className, title, sort]) => (
              <Head key={className} className={className} title={title} sort={sort} query={query} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((run, index) => (
            <RunRow
              key={run.run_id}
              run={run}
              index={index}
              now={isOpen(run.status) ? second : 0}
              today={today}
              prefectUi={prefectUi}
              arrived={arrived.has(run.run_id)}
              rowRef={isOpen(run.status) ? watched : undefined}
            />
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface HeadProps {
  className: string;
  title: string;
  sort: SortKey | null;
  query: Query;
  onSort: (change: Partial<Query>) => void;
}

function Head({ className, title, sort, query, onSort }: HeadProps) {
  if (sort === null) {
    return (
      <th role="columnheader" scope="col" className={className}>
        {title}
      </th>
    );
  }
  const active = query.sort === sort;
  const direction = query.descending ? "descending" : "ascending";
  const next = active ? { descending: !query.descending } : ordering(sort);
  return (
    <th role="columnheader" scope="col" className={className} aria-sort={active ? direction : undefined}>
      <button type="button" onClick={() => onSort(next)}>
        {title}
        <span className="arrow" aria-hidden="true">
          {active ? (query.descending ? "↓" : "↑") : ""}
        </span>
      </button>
    </th>
  );
}

/** The rows to show: the newest order at the top of the page, a standing one below it. */
function useHeld(runs: readonly Run[], all: ReadonlyMap<string, Run>, query: Query, scrolled: boolean) {
  const shown = useRef<{ query: Query; ids: readonly string[] }>({ query, ids: [] });
  const held = useMemo(() => {
    const fresh = runs.map((run) => run.run_id);
    const stands = scrolled && shown.current.query === query;
    return stands ? hold(shown.current.ids, fresh, new Set(all.keys())) : { ids: fresh, waiting: 0 };
  }, [runs, all, query, scrolled]);
  useEffect(() => {
    shown.current = { query, ids: held.ids };
  }, [query, held]);
  return held;
}

/** Rows that came above those of the last paint slide in; a first paint, another filter and older rows do not. */
function useArrivals(ids: readonly string[], query: Query): ReadonlySet<string> {
  const last = useRef({ query, known: new Set<string>() });
  const [arrived, setArrived] = useState<ReadonlySet<string>>(new Set());
  useLayoutEffect(() => {
    const { known } = last.current;
    const first = last.current.query === query ? ids.findIndex((id) => known.has(id)) : -1;
    const news = ids.slice(0, Math.max(0, first)).filter((id) => !known.has(id));
    last.current = { query, known: new Set(ids) };
    if (news.length > 0) setArrived(new Set(news));
  }, [ids, query]);
  return arrived;
}
