"""`instances.commands.v1` and `instances.status.v1`: what there is, how its flows are wired, and how fresh they are.

A registration again replaces what it names and keeps the rest, so absent is not the same as null or empty:
ask `RegisterInstance.names(field)`. Defaults by type (`max_open_runs`, an edge's two ends) are lineage's to fill in.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from runtide_schemas import vocabulary
from runtide_schemas.message import (
    CommandIdText,
    Count,
    Day,
    FlowKindText,
    InstanceText,
    NameText,
    Part,
    Sentence,
    Seq,
    TenantMessage,
    Time,
)
from runtide_schemas.policies import RetrySpec, ScheduleSpec, ShortText, Span
from runtide_schemas.vocabulary import (
    EdgeKind,
    FlowKind,
    FlowStatus,
    Frequency,
    InstanceId,
    InstanceStatus,
    InstanceType,
    OnUpstream,
    ReportsPolicy,
)

DigestText = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
DeploymentText = Annotated[str, Field(pattern=r"^[^/\x00]+/[^/\x00]+$", max_length=500)]
"""`<flow>/<deployment>`, Prefect's own name of it."""


class FlowSpec(Part):
    """One flow of an instance; `max_open_runs` None: the default of its kind. Of an automatic refresh: after `max_wait`
    it runs on the versions at hand; `min_interval` lies at least between an admission and the next refresh. `schedule`:
    when it runs by itself; `retry`: when it runs once more after a failure.
    """

    kind: FlowKindText
    deployment: DeploymentText
    on_upstream: OnUpstream = OnUpstream.NOTIFY
    reports: ReportsPolicy = ReportsPolicy.EXPECTED
    max_open_runs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    max_wait: Span | None = None
    min_interval: Span | None = None
    schedule: ScheduleSpec | None = None
    retry: RetrySpec | None = None


class UpstreamSpec(Part):
    """An edge: `flow_kind` of the upstream (None: its main one), `flows` of one's own that read it (None: all).
    `max_lag`: an upstream that is late by date alone blocks only if it is more sessions behind than this.
    """

    instance: InstanceText
    role: ShortText | None = None
    kind: EdgeKind = EdgeKind.DATA
    flow_kind: FlowKindText | None = None
    flows: list[FlowKindText] | None = None
    optional: bool = False
    max_lag: Count | None = None


class UpdateFrequency(Part):
    """The date rule. `day_of_week` 0 is Monday; `available_at` is `HH:MM` in `timezone` (None: the calendar's, else
    UTC), on the day itself or `publication_lag` days later. Grace and lag count sessions where `business_days_only`.
    """

    frequency: Frequency
    business_days_only: bool = False
    calendar: ShortText | None = None
    grace_period_days: int = Field(default=0, ge=0, le=3660)
    day_of_week: Annotated[int, Field(ge=0, le=6)] | None = None
    day_of_month: Annotated[int, Field(ge=1, le=31)] | None = None
    available_at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] | None = None
    timezone: ShortText | None = None
    publication_lag: Annotated[int, Field(ge=0, le=366)] | None = None


class InstanceCommand(TenantMessage):
    command_id: CommandIdText | None = None
    actor: ShortText = "unknown"


_REPLACED = frozenset(
    {"instance_id", "instance_type", "flows", "upstreams", "update_frequency", "owner", "status_order"}
)
_ERASABLE = frozenset({"update_frequency", "owner", "status_order"})


class RegisterInstance(InstanceCommand):
    """Upsert by name; `instance_id` only where it is to have an id of its own. At first it needs type and flows.
    `status_order`: the flow statuses, the worst first, where the instance is to show its flows in another order.

    What was not given is not written either, so that absent stays absent on its way.
    """

    type: Literal["instance.register"] = "instance.register"
    name: NameText
    instance_id: UUID | None = None
    instance_type: InstanceType | None = None
    flows: list[FlowSpec] | None = None
    upstreams: list[UpstreamSpec] | None = None
    update_frequency: UpdateFrequency | None = None
    owner: ShortText | None = None
    status_order: Annotated[list[ShortText], Field(max_length=20)] | None = None

    def names(self, field: str) -> bool:
        """The command says something about this field. Null takes the date rule, the owner or the order away, and
        nothing else.
        """
        given = field in self.model_fields_set
        return given and (getattr(self, field) is not None or field in _ERASABLE)

    @model_serializer(mode="wrap")
    def _only_what_it_names(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {field: value for field, value in written.items() if field not in _REPLACED or self.names(field)}

    @property
    def id(self) -> InstanceId:
        if self.instance_id is not None:
            return InstanceId(self.instance_id)
        return vocabulary.instance_id_of(self.tenant, self.name)


class _OnInstance(InstanceCommand):
    instance: InstanceText

    @property
    def instance_id(self) -> InstanceId:
        return vocabulary.instance_id_of(self.tenant, self.instance)


class RetireInstance(_OnInstance):
    type: Literal["instance.retire"] = "instance.retire"


class ConnectInstances(_OnInstance):
    type: Literal["instance.connect"] = "instance.connect"
    upstreams: list[UpstreamSpec]


class DisconnectInstances(_OnInstance):
    """The edges named by upstream (and role, flow kind or own flows where given) go."""

    type: Literal["instance.disconnect"] = "instance.disconnect"
    upstreams: list[UpstreamSpec]


class ChangeDefinition(_OnInstance):
    """Its code or configuration changed: what it made before is stale."""

    type: Literal["instance.change_definition"] = "instance.change_definition"
    digest: DigestText


class DelaySource(_OnInstance):
    """Its source is late and says so. `until` None: until the data has caught up; a time that is over: no longer."""

    type: Literal["instance.delay_source"] = "instance.delay_source"
    until: Time | None = None
    reason: Sentence | None = None


class SupersedeVersions(_OnInstance):
    """The data of these dates (both included) were restated: what the flow made of them until now is wrong. Without
    `version_id`: every version so far whose data reach the first of them; without `flow_kind`: the main flow.
    """

    type: Literal["version.supersede"] = "version.supersede"
    flow_kind: FlowKindText | None = None
    version_id: UUID | None = None
    first_data_date: Day
    last_data_date: Day
    reason: Sentence


class FlowSnapshot(Part):
    """`freshness` is the answer underneath `status`, which shows `running` over it; `reason` is a sentence.
    `expected_data_date` is what the date rule expects; at `next_due_at` the clock alone gives another answer.
    """

    kind: FlowKind
    deployment: str
    on_upstream: OnUpstream = OnUpstream.NOTIFY
    reports: ReportsPolicy = ReportsPolicy.EXPECTED
    max_open_runs: int = 1
    max_wait: timedelta | None = None
    min_interval: timedelta | None = None
    schedule: ScheduleSpec | None = None
    retry: RetrySpec | None = None
    status: FlowStatus
    old_status: FlowStatus | None = None
    freshness: FlowStatus
    open_run_id: UUID | None = None
    reason: str | None = None
    last_run_id: UUID | None = None
    last_run_at: Time | None = None
    last_data_date: Day | None = None
    expected_data_date: Day | None = None
    next_due_at: Time | None = None
    version_id: UUID | None = None
    verified_at: Time | None = None


class UpstreamSnapshot(Part):
    """One edge with its defaults filled in; `flow_kind` None: the upstream is not registered yet."""

    instance_id: UUID
    name: str
    role: str
    kind: EdgeKind = EdgeKind.DATA
    flow_kind: FlowKind | None = None
    flows: list[FlowKind] = Field(default=[])
    optional: bool = False
    max_lag: int | None = None


class Cause(Part):
    """Why it changed: the root's run and version, and the path of names from the root to here."""

    run_id: UUID | None = None
    version_id: UUID | None = None
    instance_id: UUID | None = None
    path: list[str] = Field(default=[])


class SourceDelay(Part):
    """Its source is late, since when and, where that was said, until when."""

    until: Time | None = None
    reason: str | None = None
    since: Time


class InstanceStatusChanged(TenantMessage):
    """The whole instance: definition, statuses, cause. A retired one keeps a last snapshot. Of many upstreams the first
    hundred, and how many in all.
    """

    type: Literal["instance.status_changed"] = "instance.status_changed"
    instance_id: UUID
    name: str
    instance_type: InstanceType
    status: InstanceStatus
    old_status: InstanceStatus | None = None
    flows: list[FlowSnapshot] = Field(default=[])
    cause: Cause | None = None
    upstreams: list[UpstreamSnapshot] = Field(default=[])
    upstreams_total: Count = 0
    update_frequency: UpdateFrequency | None = None
    source_delay: SourceDelay | None = None
    owner: str | None = None
    status_order: list[FlowStatus] | None = None
    occurred_at: Time
    seq: Seq
