import { memo, type Ref } from "react";
import { instant } from "../live/http";
import { isOpen, type Run } from "../live/store";
import { clockTime, duration, fullTime, when } from "../view/format";
import { headline } from "../view/headline";
import { elapsedSeconds } from "../view/rows";
import { lookOf, RUN_LOOKS, runTypeName, subStateName, words } from "../view/words";
import { Mark } from "./Mark";

interface RunRowProps {
  run: Run;
  /** The second that it is; 0 for an ended run, so that it is not painted again each second. */
  now: number;
  today: string;
  prefectUi: string | null;
  arrived: boolean;
  index: number;
  rowRef: Ref<HTMLTableRowElement> | undefined;
}

/** Painted only when its run changed, or when its second did. */
export const RunRow = memo(function RunRow({ run, now, today, prefectUi, arrived, index, rowRef }: RunRowProps) {
  const elapsed = elapsedSeconds(run, now);
  const open = isOpen(run.status);
  const shown = headline(run);
  return (
    <tr
      ref={rowRef}
      role="row"
      className={arrived ? "run arrived" : "run"}
      data-run-id={run.run_id}
      data-status={run.status}
      data-seq={run.seq}
      aria-rowindex={index + 2}
    >
      <td role="cell" className="c-status">
        <Mark key={run.status} look={lookOf(RUN_LOOKS, run.status)} />
      </td>
      <td role="cell" className="c-run">
        <span className="name" title={run.instance_name}>
          {run.instance_name}
        </span>
        <span className="sub">
          {runTypeName(run.run_type)}
          {(run.attempt ?? 1) > 1 && <span className="tag">attempt {run.attempt}</span>}
          <span className="id" title={run.run_id}>
            {run.run_id.slice(0, 8)}
          </span>
        </span>
      </td>
      <td role="cell" className="c-progress">
        <Progress run={run} />
      </td>
      <td role="cell" className="c-headline">
        {shown === null ? (
          <span className="none" aria-label="no metric yet">
            –
          </span>
        ) : (
          <>
            <span className="number">{shown.value}</span> <span className="unit">{shown.label}</span>
          </>
        )}
      </td>
      <td role="cell" className="c-trigger">
        {words(run.trigger ?? "manual")}
      </td>
      <td role="cell" className="c-created number">
        {Number.isFinite(run.since) && (
          <time dateTime={new Date(run.since).toISOString()} title={timesOf(run)}>
            {when(run.since, Date.parse(today))}
          </time>
        )}
      </td>
      <td role="cell" className="c-elapsed number">
        {elapsed === null ? <span className="none">–</span> : duration(elapsed, !open)}
      </td>
      <td role="cell" className="c-link">
        {prefectUi !== null && run.orchestrator_run_id && (
          <a
            href={`${prefectUi.replace(/\/$/, "")}/runs/flow-run/${run.orchestrator_run_id}`}
            target="_blank"
            rel="noreferrer"
            aria-label={`${run.instance_name} ${run.run_id.slice(0, 8)} in Prefect`}
          >
            <span className="wide">Prefect </span>
            <span aria-hidden="true">↗</span>
          </a>
        )}
      </td>
    </tr>
  );
});

function Progress({ run }: { run: Run }) {
  if (run.status === "running" || (run.status === "pending" && run.progress_pct != null)) return <Bar run={run} />;
  return (
    <span className="said">
      <Said run={run} />
    </span>
  );
}

function Bar({ run }: { run: Run }) {
  const percent = run.progress_pct ?? null;
  const said = cancelling(run) ?? (run.sub_state ? subStateName(run.sub_state) : (run.step ?? run.detail));
  const shown = percent === null ? undefined : Math.floor(percent);
  return (
    <div className="progress">
      <div
        className={percent === null ? "bar unknown" : "bar"}
        role="progressbar"
        aria-label={`Progress of ${run.instance_name}`}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={shown}
        aria-valuetext={`${shown === undefined ? "started" : `${shown} %`}${said ? `, ${said}` : ""}`}
      >
        <div className="fill" style={percent === null ? undefined : { transform: `scaleX(${percent / 100})` }} />
      </div>
      <span className="percent number">{shown === undefined ? "" : `${shown} %`}</span>
      <span className="step" title={run.detail ?? undefined}>
        {said ?? ""}
      </span>
    </div>
  );
}

function Said({ run }: { run: Run }) {
  switch (run.status) {
    case "pending":
      return cancelling(run) ?? (run.sub_state ? subStateName(run.sub_state) : "waiting for Prefect");
    case "failed": {
      const { type, message } = run.error ?? {};
      const known = type && type !== "unknown" ? `${type}: ` : "";
      return <span className="why">{`${known}${message || subStateOr(run, "no reason given")}`}</span>;
    }
    case "cancelled":
      return (run.progress_pct ?? 0) >= 1 ? `stopped at ${Math.floor(run.progress_pct ?? 0)} %` : subStateOr(run, "");
    default: {
      const rest = [run.sub_state && subStateName(run.sub_state), run.outputs === "unreported" && "outputs not reported"];
      const said = rest.filter(Boolean).join(" · ");
      if (!run.last_data_date) return said;
      return (
        <>
          data to <time className="nowrap">{run.last_data_date}</time>
          {said && ` · ${said}`}
        </>
      );
    }
  }
}

/** Honest: asked is not yet done. */
function cancelling(run: Run): string | null {
  const asked = instant(run.cancel_requested_at);
  return asked === null ? null : `cancel asked at ${clockTime(asked)}, waiting for Prefect`;
}

function timesOf(run: Run): string {
  const startedAt = instant(run.started_at);
  const started = startedAt === null ? "" : `, started ${fullTime(startedAt)}`;
  return `Created ${fullTime(run.since)}${started}`;
}

function subStateOr(run: Run, otherwise: string): string {
  return run.sub_state ? subStateName(run.sub_state) : otherwise;
}
