/** The messages the page reads, as far as it reads them. */

export type RunStatus = "pending" | "running" | "completed" | "failed" | "cancelled";
export type RequestStatus =
  | "requested"
  | "parked"
  | "admitted"
  | "launched"
  | "refused"
  | "skipped"
  | "expired"
  | "cancelled"
  | "launch_failed";
export type FlowStatus = "not_initialized" | "ready" | "stale" | "stale_source_delayed" | "running" | "error";
export type InstanceStatus = FlowStatus | "retired";
export type RunType =
  | "PipelineRun"
  | "ExperimentRun"
  | "BacktestRun"
  | "PortfolioOptimizationRun"
  | "TrainingRun"
  | "InferenceRun"
  | "MonitoringRun";
export type InstanceType =
  | "DatasetInstance"
  | "SignalInstance"
  | "ExperimentInstance"
  | "BacktestInstance"
  | "PortfolioOptimizerInstance"
  | "ModelInstance";
export type FlowKind = "refresh" | "preview" | "backtest" | "optimize" | "training" | "inference" | "monitoring";
export type Trigger = "manual" | "scheduled" | "upstream" | "backfill";

export interface Blocker {
  instance_id: string;
  name: string;
  flow_kind?: FlowKind | null;
  status: InstanceStatus;
  reason?: string | null;
}

export interface RunError {
  type?: string;
  message?: string;
  code?: string | null;
}

export interface RequestStatusChanged {
  type: "request.status_changed";
  tenant: string;
  run_id: string;
  instance_id?: string | null;
  instance_name?: string | null;
  run_type?: RunType | null;
  flow_kind?: FlowKind | null;
  trigger?: Trigger;
  actor?: string | null;
  gate?: "strict" | "wait" | "force" | "recursive" | null;
  wait_until?: string | null;
  status: RequestStatus;
  blockers?: Blocker[];
  blockers_total?: number;
  code?: string | null;
  message?: string | null;
  warning?: string | null;
  cancel_requested_at?: string | null;
  occurred_at: string;
  seq: number;
}

export interface RunStatusChanged {
  type: "run.status_changed";
  tenant: string;
  run_id: string;
  run_type: RunType;
  instance_id: string;
  instance_name: string;
  flow_kind: FlowKind;
  trigger?: Trigger;
  actor?: string | null;
  orchestrator_run_id?: string | null;
  status: RunStatus;
  sub_state?: string | null;
  attempt?: number;
  progress_pct?: number | null;
  step?: string | null;
  started_at?: string | null;
  ended_at?: string | null;
  duration_seconds?: number | null;
  metrics?: { [name: string]: unknown };
  outputs?: "sealed" | "unreported" | null;
  last_data_date?: string | null;
  error?: RunError | null;
  cancel_requested_at?: string | null;
  occurred_at: string;
  seq: number;
}

export interface RunProgressed {
  type: "run.progressed";
  tenant: string;
  run_id: string;
  instance_id: string;
  status: RunStatus;
  attempt?: number;
  progress_pct?: number | null;
  step?: string | null;
  detail?: string | null;
  occurred_at: string;
  seq: number;
}

export interface FlowSnapshot {
  kind: FlowKind;
  status: FlowStatus;
  freshness?: FlowStatus;
  reason?: string | null;
  last_data_date?: string | null;
}

export interface Cause {
  run_id?: string | null;
  version_id?: string | null;
  instance_id?: string | null;
  path?: string[];
}

export interface InstanceStatusChanged {
  type: "instance.status_changed";
  tenant: string;
  instance_id: string;
  name: string;
  instance_type: InstanceType;
  status: InstanceStatus;
  flows?: FlowSnapshot[];
  cause?: Cause | null;
  occurred_at: string;
  seq: number;
}
