import { useCallback, useMemo, useState } from "react";
import type { Session, View } from "../live/session";
import { isOpen, runsOf } from "../live/store";
import { count } from "../view/format";
import { isFiltered, type Query, START, type Tab, unfiltered } from "../view/query";
import {
  countByStatus,
  isWaiting,
  matching,
  matchingRequests,
  notLaunched,
  sorted,
  withStatus,
} from "../view/rows";
import { REQUEST_LOOKS, RUN_LOOKS } from "../view/words";
import { Filters, StatusChips } from "./Filters";
import { Instances } from "./Instances";
import { Command, Empty, Failure, Loading } from "./Panel";
import { RunTable } from "./RunTable";
import { useTitle } from "./title";
import { WaitingList } from "./WaitingList";

export interface PageProps {
  session: Session;
  view: View;
  query: Query;
  prefectUi: string | null;
  onQuery: (change: Partial<Query>, typing?: boolean) => void;
}

const RUN_CHIPS = (["running", "pending", "completed", "failed", "cancelled"] as const).map(
  (status) => [status, RUN_LOOKS[status]] as const,
);
const REQUEST_CHIPS = (
  ["requested", "parked", "admitted", "refused", "expired", "skipped", "cancelled", "launch_failed", "finished", "failed"] as const
).map((status) => [status, REQUEST_LOOKS[status]] as const);

const MAKE_ONE = "runtide submit prices refresh --wait";
const PAGE_ROWS = 100;

export function RunsPage(props: PageProps) {
  const { session, view, query, onQuery } = props;
  const requests = useMemo(() => notLaunched(view.live.requests.values()), [view.live.requests]);
  const runs = useMemo(() => runsOf(view.live), [view.live]);
  const waiting = requests.filter(isWaiting).length;
  useTitle(runs.filter((run) => isOpen(run.status)).length);
  const open = (tab: Tab) => onQuery({ ...START, tab, instance: query.instance });
  return (
    <div className="page">
      <main id="content" tabIndex={-1}>
        <h1 className="visually-hidden">Runs</h1>
        <div className="tabs" role="group" aria-label="What to show">
          <TabButton name="Runs" number={null} active={query.tab === "runs"} onClick={() => open("runs")} />
          <TabButton name="Waiting" number={waiting} active={query.tab === "waiting"} onClick={() => open("waiting")} />
        </div>
        {query.tab === "runs" ? <RunsTab {...props} runs={runs} /> : <WaitingTab {...props} requests={requests} />}
      </main>
      <Instances
        instances={[...view.live.instances.values()]}
        source={view.sources.instances}
        chosen={query.instance}
        onChoose={(instance) => onQuery({ instance })}
        onRetry={() => session.retry("instances")}
      />
    </div>
  );
}

interface TabProps {
  name: string;
  number: number | null;
  active: boolean;
  onClick: () => void;
}

function TabButton({ name, number, active, onClick }: TabProps) {
  return (
    <button type="button" aria-pressed={active} onClick={onClick}>
      {name} {number !== null && number > 0 && <span className="badge number">{count(number)}</span>}
    </button>
  );
}

function RunsTab({ session, view, query, prefectUi, onQuery, runs }: PageProps & { runs: ReturnType<typeof runsOf> }) {
  const [limit, setLimit] = useState(PAGE_ROWS);
  const source = view.sources.runs;
  const all = useMemo(() => new Map(runs.map((run) => [run.run_id, run])), [runs]);
  const candidates = useMemo(() => matching(runs, query), [runs, query]);
  const chosen = withStatus(candidates, query.statuses);
  const rows = sorted(chosen, query.sort, query.descending, view.now).slice(0, limit);
  const inView = useCallback((ids: string[]) => session.watch(ids), [session]);
  const more = () => {
    setLimit(limit + PAGE_ROWS);
    if (chosen.length <= limit) session.older("runs");
  };
  const hasMore = chosen.length > limit || source.older !== null;
  return (
    <>
      <div className="toolbar">
        <StatusChips
          label="Runs by status"
          looks={RUN_CHIPS}
          counts={source.loaded || candidates.length > 0 ? countByStatus(candidates) : null}
          chosen={query.statuses}
          onChange={(statuses) => onQuery({ statuses })}
        />
        <Filters query={query} onChange={onQuery} />
      </div>
      <Failure what="run_tracker" source={source} onRetry={() => session.retry("runs")} />
      {rows.length > 0 ? (
        <RunTable
          runs={rows}
          all={all}
          query={query}
          now={view.now}
          prefectUi={prefectUi}
          onSort={onQuery}
          onInView={inView}
        />
      ) : (
        <Nothing loaded={source.loaded} failed={source.failedSince !== null} query={query} onQuery={onQuery} what="runs">
          {runs.length === 0 && <Command text={MAKE_ONE} />}
        </Nothing>
      )}
      {source.loaded && hasMore && (
        <p className="more">
          <button type="button" onClick={more} disabled={source.loading}>
            {source.loading ? "Loading…" : "Show older runs"}
          </button>
          <span className="sub">
            {source.older === null ? "" : `The newest ${count(runs.length)} are here, and all that are open.`}
          </span>
        </p>
      )}
    </>
  );
}

function WaitingTab(props: PageProps & { requests: ReturnType<typeof notLaunched> }) {
  const { session, view, query, onQuery, requests } = props;
  const source = view.sources.requests;
  const candidates = matchingRequests(requests, query);
  const rows = withStatus(candidates, query.statuses);
  return (
    <>
      <div className="toolbar">
        <StatusChips
          label="Requests by status"
          looks={REQUEST_CHIPS}
          rare={["requested", "cancelled", "launch_failed", "finished", "failed"]}
          counts={source.loaded || candidates.length > 0 ? countByStatus(candidates) : null}
          chosen={query.statuses}
          onChange={(statuses) => onQuery({ statuses })}
        />
        <Filters query={query} onChange={onQuery} />
      </div>
      <Failure what="submission" source={source} onRetry={() => session.retry("requests")} />
      {rows.length > 0 ? (
        <WaitingList requests={rows} now={view.now} />
      ) : (
        <Nothing
          loaded={source.loaded}
          failed={source.failedSince !== null}
          query={query}
          onQuery={onQuery}
          what="requests"
        >
          {requests.length === 0 && (
            <>
              <p className="sub">Nothing waits and nothing was refused. To park one behind its upstreams:</p>
              <Command text="runtide submit momentum --gate wait" />
            </>
          )}
        </Nothing>
      )}
      {source.loaded && source.older !== null && (
        <p className="more">
          <button type="button" onClick={() => session.older("requests")} disabled={source.loading}>
            {source.loading ? "Loading…" : "Look through older requests"}
          </button>
        </p>
      )}
    </>
  );
}

interface NothingProps {
  loaded: boolean;
  failed: boolean;
  query: Query;
  onQuery: (change: Partial<Query>) => void;
  what: string;
  children: React.ReactNode;
}

function Nothing({ loaded, failed, query, onQuery, what, children }: NothingProps) {
  if (!loaded) return failed ? null : <Loading rows={8} label={`Loading the ${what}`} />;
  if (!isFiltered(query) || children) {
    return <Empty title={what === "runs" ? "No runs yet. Make one:" : "No requests here"}>{children}</Empty>;
  }
  return (
    <Empty title={`No ${what} match this filter`}>
      <button type="button" onClick={() => onQuery(unfiltered(query))}>
        Clear the filter
      </button>
    </Empty>
  );
}
