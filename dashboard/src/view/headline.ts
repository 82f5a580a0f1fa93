/** The one number of a run that people look for first, by run type. */

import type { Run } from "../live/store";
import { count } from "./format";

export interface Headline {
  readonly value: string;
  readonly label: string;
}

type Candidate = readonly [metric: string, label: string, show: (value: number) => string];

const ratio = (value: number) => value.toFixed(2);
const fine = (value: number) => (Math.abs(value) >= 100 ? count(value) : value.toPrecision(3));
const added = (value: number) => (value > 0 ? `+${count(value)}` : count(value));
const percent = (value: number) => `${fine(value)} %`;

const CANDIDATES: Record<string, readonly Candidate[]> = {
  PipelineRun: [
    ["rows_added", "rows", added],
    ["rows_inserted", "rows", added],
    ["rows_processed", "rows", count],
  ],
  ExperimentRun: [["rows_computed", "rows", count]],
  BacktestRun: [
    ["sharpe_ratio", "Sharpe", ratio],
    ["total_return", "return", fine],
  ],
  PortfolioOptimizationRun: [
    ["expected_sharpe", "exp. Sharpe", ratio],
    ["expected_return", "exp. return", fine],
  ],
  TrainingRun: [
    ["val_ic", "val. IC", fine],
    ["val_r2", "val. R²", fine],
    ["val_rmse", "val. RMSE", fine],
    ["val_mae", "val. MAE", fine],
    ["accuracy", "accuracy", ratio],
  ],
  InferenceRun: [["num_predictions", "predictions", count]],
  MonitoringRun: [
    ["psi", "PSI", ratio],
    ["drift_score", "drift", ratio],
    ["missing_pct", "missing", percent],
    ["ic", "IC", fine],
  ],
};

export function headline(run: Run): Headline | null {
  const metrics = run.metrics ?? {};
  const alerts = Array.isArray(metrics["alerts"]) ? metrics["alerts"].length : metrics["alerts"];
  if (typeof alerts === "number" && alerts > 0) return { value: count(alerts), label: alerts === 1 ? "alert" : "alerts" };
  for (const [metric, label, show] of CANDIDATES[run.run_type] ?? []) {
    const value = metrics[metric];
    if (typeof value === "number" && Number.isFinite(value)) return { value: show(value), label };
  }
  return null;
}
