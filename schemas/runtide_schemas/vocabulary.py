"""The words of Runtide, and its ids. Pure: no pydantic, no I/O; the only module of schemas that a `domain/` imports.

The fact not to break: a word here is stored and published; it is never renamed.
"""

import re
from enum import StrEnum

from runtide_schemas.ids import COMMAND_ID_MAX_LENGTH as COMMAND_ID_MAX_LENGTH
from runtide_schemas.ids import NAME_PATTERN as NAME_PATTERN
from runtide_schemas.ids import RUNTIDE as RUNTIDE
from runtide_schemas.ids import TENANT_PATTERN as TENANT_PATTERN
from runtide_schemas.ids import UUID_PATTERN as UUID_PATTERN
from runtide_schemas.ids import CommandId as CommandId
from runtide_schemas.ids import InstanceId as InstanceId
from runtide_schemas.ids import InstanceName as InstanceName
from runtide_schemas.ids import RestatementId as RestatementId
from runtide_schemas.ids import RunId as RunId
from runtide_schemas.ids import Tenant as Tenant
from runtide_schemas.ids import VersionId as VersionId
from runtide_schemas.ids import adopted_run_id as adopted_run_id
from runtide_schemas.ids import instance_id_of as instance_id_of
from runtide_schemas.ids import is_name as is_name
from runtide_schemas.ids import is_tenant as is_tenant
from runtide_schemas.ids import is_uuid as is_uuid
from runtide_schemas.ids import restatement_id_of as restatement_id_of
from runtide_schemas.ids import run_id_of as run_id_of
from runtide_schemas.ids import version_id_of as version_id_of


class InstanceType(StrEnum):
    DATASET = "DatasetInstance"
    SIGNAL = "SignalInstance"
    EXPERIMENT = "ExperimentInstance"
    BACKTEST = "BacktestInstance"
    PORTFOLIO_OPTIMIZER = "PortfolioOptimizerInstance"
    MODEL = "ModelInstance"


class FlowKind(StrEnum):
    REFRESH = "refresh"
    PREVIEW = "preview"
    BACKTEST = "backtest"
    OPTIMIZE = "optimize"
    TRAINING = "training"
    INFERENCE = "inference"
    MONITORING = "monitoring"


class RunType(StrEnum):
    PIPELINE = "PipelineRun"
    EXPERIMENT = "ExperimentRun"
    BACKTEST = "BacktestRun"
    PORTFOLIO_OPTIMIZATION = "PortfolioOptimizationRun"
    TRAINING = "TrainingRun"
    INFERENCE = "InferenceRun"
    MONITORING = "MonitoringRun"


class RequestStatus(StrEnum):
    REQUESTED = "requested"
    PARKED = "parked"
    ADMITTED = "admitted"
    LAUNCHED = "launched"
    REFUSED = "refused"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    LAUNCH_FAILED = "launch_failed"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def is_end(self) -> bool:
        """Nothing more will happen to the request, and there is no run (`launched` goes on as a run). `finished` and
        `failed` are ends of a backfill alone: every date is done, or not.
        """
        return self in _REQUEST_ENDS


class RunStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return self in _RUN_ENDS


class SubState(StrEnum):
    QUEUED = "queued"
    LATE = "late"
    STARTING = "starting"
    WAITING_RETRY = "waiting_retry"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    CANCELLING = "cancelling"
    CANCEL_UNCONFIRMED = "cancel_unconfirmed"
    UNRESPONSIVE = "unresponsive"
    WAITING_OUTPUTS = "waiting_outputs"
    CACHED = "cached"
    ROLLED_BACK = "rolled_back"
    TIMED_OUT = "timed_out"
    INFRASTRUCTURE = "infrastructure"
    LOST = "lost"


class FlowStatus(StrEnum):
    """What a flow shows; `freshness`, the answer underneath `running`, has the same words."""

    NOT_INITIALIZED = "not_initialized"
    READY = "ready"
    STALE = "stale"
    STALE_SOURCE_DELAYED = "stale_source_delayed"
    RUNNING = "running"
    ERROR = "error"


class InstanceStatus(StrEnum):
    """The worst of the flows' statuses, or `retired`."""

    NOT_INITIALIZED = "not_initialized"
    READY = "ready"
    STALE = "stale"
    STALE_SOURCE_DELAYED = "stale_source_delayed"
    RUNNING = "running"
    ERROR = "error"
    RETIRED = "retired"


class Trigger(StrEnum):
    MANUAL = "manual"
    SCHEDULED = "scheduled"
    UPSTREAM = "upstream"
    BACKFILL = "backfill"


class Mode(StrEnum):
    INCREMENTAL = "incremental"
    OVERWRITE = "overwrite"
    PREVIEW = "preview"


class Gate(StrEnum):
    """What a request wants when something blocks it."""

    STRICT = "strict"
    WAIT = "wait"
    FORCE = "force"
    RECURSIVE = "recursive"


class BackfillStep(StrEnum):
    """How much of a backfill's range one child covers."""

    SESSION = "session"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class BackfillOrder(StrEnum):
    OLDEST_FIRST = "oldest_first"
    NEWEST_FIRST = "newest_first"


class OnFailure(StrEnum):
    """What a backfill does once one of its dates has ended without success."""

    STOP = "stop"
    CONTINUE = "continue"


class Missed(StrEnum):
    """What a schedule does about instants that nobody was there for: the newest of them is run, or none is."""

    RUN_ONCE = "run_once"
    SKIP = "skip"


class EdgeKind(StrEnum):
    DATA = "data_dependency"
    FEATURE = "feature_dependency"
    SIGNAL = "signal_dependency"
    SCHEMA = "schema_dependency"

    @property
    def gates(self) -> bool:
        """The upstream must be ready before the downstream may run."""
        return self is not EdgeKind.SCHEMA

    @property
    def propagates(self) -> bool:
        """A new version upstream makes the downstream stale (a schema edge: only a change of the schema digest)."""
        return self is not EdgeKind.SCHEMA


class OnUpstream(StrEnum):
    NOTIFY = "notify"
    REFRESH = "refresh"


class ReportsPolicy(StrEnum):
    """Whether `completed` waits for the flow's last report."""

    EXPECTED = "expected"
    NONE = "none"


class Outputs(StrEnum):
    SEALED = "sealed"
    UNREPORTED = "unreported"


class Basis(StrEnum):
    """How an input version is known."""

    REPORTED = "reported"
    ADMITTED = "admitted"
    ASSUMED = "assumed"


class Frequency(StrEnum):
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    IRREGULAR = "irregular"


class MonitoringType(StrEnum):
    MODEL_DRIFT = "model_drift"
    DATA_QUALITY = "data_quality"
    PERFORMANCE = "performance"


class Code(StrEnum):
    UPSTREAM_NOT_READY = "UPSTREAM_NOT_READY"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    PLAN_CHANGED = "PLAN_CHANGED"
    UNKNOWN_INSTANCE = "UNKNOWN_INSTANCE"
    UNKNOWN_FLOW = "UNKNOWN_FLOW"
    UNKNOWN_VERSION = "UNKNOWN_VERSION"
    UNKNOWN_PLAN = "UNKNOWN_PLAN"
    INSTANCE_RETIRED = "INSTANCE_RETIRED"
    INVALID_COMMAND = "INVALID_COMMAND"
    COMMAND_CONFLICT = "COMMAND_CONFLICT"
    TENANT_MISMATCH = "TENANT_MISMATCH"
    TOO_LATE = "TOO_LATE"
    DEPLOYMENT_NOT_FOUND = "DEPLOYMENT_NOT_FOUND"
    PARAMETERS_REJECTED = "PARAMETERS_REJECTED"
    INVALID_TRANSITION = "INVALID_TRANSITION"
    NOT_A_RUN_YET = "NOT_A_RUN_YET"
    BACKFILL_INCOMPLETE = "BACKFILL_INCOMPLETE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"


_REQUEST_ENDS = frozenset(
    {
        RequestStatus.REFUSED,
        RequestStatus.SKIPPED,
        RequestStatus.EXPIRED,
        RequestStatus.CANCELLED,
        RequestStatus.LAUNCH_FAILED,
        RequestStatus.FINISHED,
        RequestStatus.FAILED,
    }
)
_RUN_ENDS = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})

_RUN_TYPES: dict[tuple[InstanceType, FlowKind], RunType] = {
    (InstanceType.DATASET, FlowKind.REFRESH): RunType.PIPELINE,
    (InstanceType.SIGNAL, FlowKind.REFRESH): RunType.PIPELINE,
    (InstanceType.EXPERIMENT, FlowKind.PREVIEW): RunType.EXPERIMENT,
    (InstanceType.BACKTEST, FlowKind.BACKTEST): RunType.BACKTEST,
    (InstanceType.PORTFOLIO_OPTIMIZER, FlowKind.OPTIMIZE): RunType.PORTFOLIO_OPTIMIZATION,
    (InstanceType.MODEL, FlowKind.TRAINING): RunType.TRAINING,
    (InstanceType.MODEL, FlowKind.INFERENCE): RunType.INFERENCE,
    (InstanceType.MODEL, FlowKind.MONITORING): RunType.MONITORING,
    (InstanceType.DATASET, FlowKind.MONITORING): RunType.MONITORING,
}
_MAIN_FLOW_KINDS: dict[InstanceType, FlowKind] = {
    InstanceType.DATASET: FlowKind.REFRESH,
    InstanceType.SIGNAL: FlowKind.REFRESH,
    InstanceType.EXPERIMENT: FlowKind.PREVIEW,
    InstanceType.BACKTEST: FlowKind.BACKTEST,
    InstanceType.PORTFOLIO_OPTIMIZER: FlowKind.OPTIMIZE,
    InstanceType.MODEL: FlowKind.INFERENCE,
}
FLOW_KIND_ALIASES: dict[str, FlowKind] = {
    "train": FlowKind.TRAINING,
    "infer": FlowKind.INFERENCE,
    "monitor": FlowKind.MONITORING,
}


def run_type_of(instance_type: InstanceType, flow_kind: FlowKind) -> RunType | None:
    """None: this pair is not in the table, and is refused."""
    return _RUN_TYPES.get((instance_type, flow_kind))


def flow_kinds_of(instance_type: InstanceType) -> tuple[FlowKind, ...]:
    """The flows that an instance of this type may have, in the order of the table."""
    return tuple(kind for of_type, kind in _RUN_TYPES if of_type is instance_type)


def main_flow_kind(instance_type: InstanceType) -> FlowKind:
    """The flow that an edge to this instance means when it names none."""
    return _MAIN_FLOW_KINDS[instance_type]


def default_max_open_runs(flow_kind: FlowKind) -> int:
    return 1 if flow_kind in (FlowKind.REFRESH, FlowKind.TRAINING) else 10


def flow_kind_of(text: str) -> FlowKind:
    """The flow kind that a user's text names; `train`, `infer` and `monitor` are read as the long words.

    Raises: ValueError with what is allowed.
    """
    kind = FLOW_KIND_ALIASES.get(text)
    if kind is not None:
        return kind
    try:
        return FlowKind(text)
    except ValueError:
        raise ValueError(f"unknown flow kind {text[:80]!r}; allowed: {', '.join(FlowKind)}") from None


def action_prefix(run_type: RunType) -> str:
    """`pipeline_run`, as in the activity `pipeline_run.completed`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", run_type.value).lower()
