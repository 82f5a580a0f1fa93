import { useState } from "react";
import type { FlowSnapshot, InstanceStatus, InstanceStatusChanged } from "../contract";
import type { SourceState } from "../live/sources";
import { count, wallTime } from "../view/format";
import { INSTANCE_LOOKS, instanceTypeName, lookOf } from "../view/words";
import { Glyph, Mark } from "./Mark";
import { Command, Empty, Failure, Loading } from "./Panel";

interface InstancesProps {
  instances: readonly InstanceStatusChanged[];
  source: SourceState;
  chosen: string;
  onChoose: (name: string) => void;
  onRetry: () => void;
}

/** Beside the runs: what each instance is now, and what made it stale. On a narrow screen it folds to its summary. */
export function Instances({ instances, source, chosen, onChoose, onRetry }: InstancesProps) {
  const [open, setOpen] = useState(false);
  const sorted = [...instances].sort((a, b) => a.name.localeCompare(b.name));
  return (
    <aside className={open ? "instances open" : "instances"} aria-label="Instances">
      <div className="instances-head">
        <h2>Instances</h2>
        <Summary instances={instances} />
        <button
          type="button"
          className="plain fold"
          aria-expanded={open}
          aria-controls="instances"
          onClick={() => setOpen(!open)}
        >
          {open ? "Hide" : "Show"}
          <span className="visually-hidden"> instances</span>
        </button>
      </div>
      <Failure what="lineage" source={source} onRetry={onRetry} />
      <div id="instances" className="instances-body">
        {!source.loaded && instances.length === 0 && source.failedSince === null && (
          <Loading rows={5} label="Loading the instances" />
        )}
        {source.loaded && instances.length === 0 && (
          <Empty title="No instances yet">
            <Command text="runtide apply platform.yaml" />
          </Empty>
        )}
        <ul>
          {sorted.map((instance) => (
            <Instance
              key={instance.instance_id}
              instance={instance}
              all={instances}
              chosen={chosen === instance.name}
              onChoose={onChoose}
            />
          ))}
        </ul>
      </div>
    </aside>
  );
}

function Summary({ instances }: { instances: readonly InstanceStatusChanged[] }) {
  const statuses = Object.keys(INSTANCE_LOOKS) as InstanceStatus[];
  const counted = statuses
    .map((status) => ({ status, number: instances.filter((one) => one.status === status).length }))
    .filter(({ number }) => number > 0);
  return (
    <ul className="summary" aria-label="Instances by status">
      {counted.map(({ status, number }) => (
        <li key={status} className={`tone-${INSTANCE_LOOKS[status].tone}`} title={INSTANCE_LOOKS[status].word}>
          <Glyph icon={INSTANCE_LOOKS[status].icon} />
          <span className="number">{count(number)}</span>
          <span className="visually-hidden">{INSTANCE_LOOKS[status].word}</span>
        </li>
      ))}
    </ul>
  );
}

interface InstanceProps {
  instance: InstanceStatusChanged;
  all: readonly InstanceStatusChanged[];
  chosen: boolean;
  onChoose: (name: string) => void;
}

function Instance({ instance, all, chosen, onChoose }: InstanceProps) {
  const flows = instance.flows ?? [];
  const dated = datedFlow(instance);
  const date = dated ? null : dataDate(flows);
  return (
    <li className="instance" data-instance={instance.name} data-status={instance.status} data-seq={instance.seq}>
      <button
        type="button"
        className="instance-name"
        aria-pressed={chosen}
        title={chosen ? "Show the runs of all instances" : "Show its runs only"}
        onClick={() => onChoose(chosen ? "" : instance.name)}
      >
        {instance.name}
      </button>
      <Mark key={instance.status} look={lookOf(INSTANCE_LOOKS, instance.status)} />
      <span className="sub">{instanceTypeName(instance.instance_type)}</span>
      <span className="sub number date">{date && <time dateTime={date}>{date}</time>}</span>
      {flows.length > 1 && (
        <ul className="flows" aria-label={`Flows of ${instance.name}`}>
          {flows.map((flow) => (
            <li key={flow.kind}>
              {flow.kind} <Mark key={flow.status} look={lookOf(INSTANCE_LOOKS, flow.status)} quiet />
            </li>
          ))}
        </ul>
      )}
      {dated && <Due flow={dated} zone={instance.update_frequency?.timezone ?? null} />}
      <Because instance={instance} all={all} />
    </li>
  );
}

interface DueProps {
  flow: FlowSnapshot & { next_due_at: string };
  zone: string | null;
}

/** How far the data goes and when the next date falls due; what is late says so as its reason. */
function Due({ flow, zone }: DueProps) {
  const late = flow.freshness === "stale" || flow.freshness === "stale_source_delayed";
  return (
    <p className="due">
      {flow.last_data_date ? "data to " : "no data yet"}
      {flow.last_data_date && <time dateTime={flow.last_data_date}>{flow.last_data_date}</time>}
      {!late && ", due "}
      {!late && <time dateTime={flow.next_due_at}>{wallTime(Date.parse(flow.next_due_at), Date.now(), zone)}</time>}
    </p>
  );
}

function datedFlow(instance: InstanceStatusChanged): DueProps["flow"] | undefined {
  return instance.flows?.find((flow): flow is DueProps["flow"] => typeof flow.next_due_at === "string");
}

/** The root of the staleness, as lineage names it; else the sentence of the flow that is not ready. */
function Because({ instance, all }: { instance: InstanceStatusChanged; all: readonly InstanceStatusChanged[] }) {
  if (instance.status !== "stale" && instance.status !== "error" && instance.status !== "stale_source_delayed") return null;
  const root = instance.status === "stale" ? rootCause(instance, all) : null;
  const reason = (instance.flows ?? []).find((flow) => flow.status === instance.status)?.reason;
  if (root !== null) {
    const path = (instance.cause?.path ?? []).slice(1, -1);
    return (
      <p className="because" title={reason ?? undefined}>
        because of <strong>{root}</strong>
        {path.length > 0 && `, through ${path.join(", ")}`}
      </p>
    );
  }
  return reason ? <p className="because">{reason}</p> : null;
}

/** Null where it is stale of itself: late, or of another definition. */
function rootCause(instance: InstanceStatusChanged, all: readonly InstanceStatusChanged[]): string | null {
  const { path = [], instance_id } = instance.cause ?? {};
  if (instance_id === instance.instance_id) return null;
  return path[0] ?? all.find((one) => one.instance_id === instance_id)?.name ?? null;
}

function dataDate(flows: readonly FlowSnapshot[]): string | null {
  return flows.reduce<string | null>((newest, { last_data_date: date }) => {
    return date && (newest === null || date > newest) ? date : newest;
  }, null);
}
