/** Every status as a word, an icon and a tone: never by colour alone. */

import type { InstanceStatus, InstanceType, RequestStatus, RunStatus, RunType } from "../contract";

export type Tone = "neutral" | "blue" | "sky" | "green" | "orange" | "vermillion" | "purple";
export type Icon =
  | "ring"
  | "dashed"
  | "play"
  | "check"
  | "cross"
  | "slash"
  | "pause"
  | "arrow"
  | "stop"
  | "hourglass"
  | "skip"
  | "warning"
  | "wave"
  | "box";

export interface Look {
  readonly word: string;
  readonly icon: Icon;
  readonly tone: Tone;
}

export const RUN_LOOKS: Record<RunStatus, Look> = {
  running: { word: "Running", icon: "play", tone: "blue" },
  pending: { word: "Pending", icon: "ring", tone: "neutral" },
  completed: { word: "Completed", icon: "check", tone: "green" },
  failed: { word: "Failed", icon: "cross", tone: "vermillion" },
  cancelled: { word: "Cancelled", icon: "slash", tone: "purple" },
};

export const REQUEST_LOOKS: Record<RequestStatus, Look> = {
  requested: { word: "Asked", icon: "ring", tone: "neutral" },
  parked: { word: "Parked", icon: "pause", tone: "orange" },
  admitted: { word: "Admitted", icon: "arrow", tone: "sky" },
  launched: { word: "Launched", icon: "play", tone: "blue" },
  refused: { word: "Refused", icon: "stop", tone: "vermillion" },
  expired: { word: "Expired", icon: "hourglass", tone: "purple" },
  skipped: { word: "Skipped", icon: "skip", tone: "green" },
  cancelled: { word: "Cancelled", icon: "slash", tone: "purple" },
  launch_failed: { word: "Launch failed", icon: "warning", tone: "vermillion" },
  finished: { word: "Finished", icon: "check", tone: "green" },
  failed: { word: "Failed", icon: "cross", tone: "vermillion" },
};

export const INSTANCE_LOOKS: Record<InstanceStatus, Look> = {
  ready: { word: "Ready", icon: "check", tone: "green" },
  running: { word: "Running", icon: "play", tone: "blue" },
  stale: { word: "Stale", icon: "wave", tone: "orange" },
  stale_source_delayed: { word: "Source delayed", icon: "hourglass", tone: "orange" },
  error: { word: "Error", icon: "cross", tone: "vermillion" },
  not_initialized: { word: "Never run", icon: "dashed", tone: "neutral" },
  retired: { word: "Retired", icon: "box", tone: "neutral" },
};

/** A status of a later version is shown as it is called. */
export function lookOf<S extends string>(looks: Record<S, Look>, status: string): Look {
  return looks[status as S] ?? { word: words(status), icon: "ring", tone: "neutral" };
}

const RUN_TYPES: Record<RunType, string> = {
  PipelineRun: "Pipeline",
  ExperimentRun: "Experiment",
  BacktestRun: "Backtest",
  PortfolioOptimizationRun: "Optimization",
  TrainingRun: "Training",
  InferenceRun: "Inference",
  MonitoringRun: "Monitoring",
};

const INSTANCE_TYPES: Record<InstanceType, string> = {
  DatasetInstance: "Dataset",
  SignalInstance: "Signal",
  ExperimentInstance: "Experiment",
  BacktestInstance: "Backtest",
  PortfolioOptimizerInstance: "Optimizer",
  ModelInstance: "Model",
};

export const runTypeName = (type: string): string => RUN_TYPES[type as RunType] ?? type;
export const instanceTypeName = (type: string): string => INSTANCE_TYPES[type as InstanceType] ?? type;
export const RUN_TYPE_NAMES = RUN_TYPES;

const SUB_STATES: Record<string, string> = {
  waiting_outputs: "waiting for outputs",
  waiting_retry: "waiting to try again",
  cancel_unconfirmed: "cancel not confirmed",
};

/** `waiting_retry` → "waiting to try again", `timed_out` → "timed out". */
export function subStateName(subState: string): string {
  return SUB_STATES[subState] ?? subState.replaceAll("_", " ");
}

/** `launch_failed` → "Launch failed". */
export function words(name: string): string {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
