"""The only list of topics. One writer per status topic, one reader of commands; a `v2` goes beside its `v1`.

`Topic.adapter` is the one definition of what may lie in a topic: a union on `type`, which is required on the wire, so
that an unknown type is an error that names it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from runtide_schemas import activities, commands, decisions, instances, prefect, reports, requests, runs
from runtide_schemas.message import LIST_LIMIT, Message

__all__ = ["LIST_LIMIT", "MAX_MESSAGE_BYTES", "TOPICS", "Topic", "key_field_of", "key_of", "topic_named", "topic_of"]

MAX_MESSAGE_BYTES = 256 * 1024
_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class Topic:
    """`retention_ms` None: nothing is deleted by age (it is compacted). `scope`: clients write to it, so that headers,
    keys and good behaviour are missing there; it is what a token must allow, where tokens are asked for.
    """

    name: str
    partitions: int
    retention_ms: int | None
    compacted: bool
    public: bool
    messages: tuple[type[Message], ...]
    writer: str = ""
    scope: str = ""
    about: str = ""

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """`adapter.validate_json(value)` gives a message of this topic (on `runs.commands.v1` also an
        `InvalidSubmission`), or raises pydantic's ValidationError.
        """
        return TypeAdapter(_union_on_type(self.messages))

    @property
    def open_door(self) -> bool:
        return bool(self.scope)

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(message.wire_type() for message in self.messages)


def _union_on_type(messages: tuple[type[Message], ...]) -> Any:
    class OnType:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
            choices = {message.wire_type(): _choice(message, handler) for message in messages}
            return core_schema.tagged_union_schema(choices, discriminator="type")

    return OnType


def _choice(message: type[Message], handler: GetCoreSchemaHandler) -> CoreSchema:
    schema = handler.generate_schema(message)
    if message is not commands.SubmitRun:
        return schema
    invalid = core_schema.no_info_plain_validator_function(_invalid_submission)
    return core_schema.union_schema(
        [schema, invalid],
        mode="left_to_right",
        custom_error_type="unreadable_submission",
        custom_error_message="a run.submit whose tenant or instance cannot be read",
    )


def _invalid_submission(value: Any) -> commands.InvalidSubmission:
    """Only for what was no valid SubmitRun, so it may cost: read again, for the reasons."""
    read = commands.read_submission(value)
    if isinstance(read, commands.SubmitRun):
        raise ValueError("valid as JSON alone")
    return read


RUNS_COMMANDS = Topic(
    name="runs.commands.v1",
    partitions=6,
    retention_ms=7 * _DAY_MS,
    compacted=False,
    public=True,
    messages=(commands.SubmitRun, commands.CancelRun),
    writer="clients, lineage",
    scope="requests:write",
    about="What anybody may ask for; keyed by instance id, as advice only.",
)
REQUESTS_STATUS = Topic(
    name="requests.status.v1",
    partitions=12,
    retention_ms=30 * _DAY_MS,
    compacted=False,
    public=True,
    messages=(requests.RequestStatusChanged,),
    writer="submission",
    about="What became of each request: full snapshots with seq, keyed by run id.",
)
REQUESTS_DECISIONS = Topic(
    name="requests.decisions.v1",
    partitions=6,
    retention_ms=7 * _DAY_MS,
    compacted=False,
    public=False,
    messages=(
        decisions.RequestAdmitted,
        decisions.RequestParked,
        decisions.RequestRefused,
        decisions.RequestSkipped,
        decisions.RequestExpired,
        decisions.RequestFinished,
    ),
    writer="lineage",
    about="What was decided about a request, numbered per request, keyed by run id.",
)
PREFECT_FLOW_RUN_STATES = Topic(
    name="prefect.flow-run-states.v1",
    partitions=12,
    retention_ms=7 * _DAY_MS,
    compacted=False,
    public=False,
    messages=(prefect.FlowRunStateObserved,),
    writer="run_tracker",
    about="Prefect's flow run states as seen by bridge and sweep, keyed by flow run id.",
)
RUNS_REPORTS = Topic(
    name="runs.reports.v1",
    partitions=12,
    retention_ms=7 * _DAY_MS,
    compacted=False,
    public=True,
    messages=(
        reports.InputsReported,
        reports.ProgressReported,
        reports.MetricsReported,
        reports.ArtifactReported,
        reports.ErrorReported,
        reports.OutputReported,
    ),
    writer="flow code",
    scope="runs:report",
    about="What flow code says about its own run, keyed by run id; the last one seals the attempt.",
)
RUNS_STATUS = Topic(
    name="runs.status.v1",
    partitions=12,
    retention_ms=30 * _DAY_MS,
    compacted=False,
    public=True,
    messages=(runs.RunStatusChanged,),
    writer="run_tracker",
    about="The truth about each run: full snapshots with seq, keyed by run id.",
)
RUNS_PROGRESS = Topic(
    name="runs.progress.v1",
    partitions=12,
    retention_ms=1 * _DAY_MS,
    compacted=False,
    public=True,
    messages=(runs.RunProgressed,),
    writer="run_tracker",
    about="Where each run is, at most four a second, with the run's seq, keyed by run id.",
)
INSTANCES_COMMANDS = Topic(
    name="instances.commands.v1",
    partitions=3,
    retention_ms=7 * _DAY_MS,
    compacted=False,
    public=True,
    messages=(
        instances.RegisterInstance,
        instances.RetireInstance,
        instances.ConnectInstances,
        instances.DisconnectInstances,
        instances.ChangeDefinition,
        instances.DelaySource,
        instances.SupersedeVersions,
    ),
    writer="clients",
    scope="instances:write",
    about="Registration and wiring of instances, and what is restated of them, keyed by tenant.",
)
INSTANCES_STATUS = Topic(
    name="instances.status.v1",
    partitions=6,
    retention_ms=None,
    compacted=True,
    public=True,
    messages=(instances.InstanceStatusChanged,),
    writer="lineage",
    about="Definition and freshness of each instance: full snapshots with seq, keyed by instance id.",
)
ACTIVITIES = Topic(
    name="activities.v1",
    partitions=6,
    retention_ms=90 * _DAY_MS,
    compacted=False,
    public=True,
    messages=(activities.ActivityRecorded,),
    writer="every service",
    about="Who did what to what, for people, keyed by tenant; each service writes about its own facts.",
)

TOPICS: tuple[Topic, ...] = (
    RUNS_COMMANDS,
    REQUESTS_STATUS,
    REQUESTS_DECISIONS,
    PREFECT_FLOW_RUN_STATES,
    RUNS_REPORTS,
    RUNS_STATUS,
    RUNS_PROGRESS,
    INSTANCES_COMMANDS,
    INSTANCES_STATUS,
    ACTIVITIES,
)

_TOPIC_OF: dict[type[Message], Topic] = {message: topic for topic in TOPICS for message in topic.messages}
_KEY_FIELDS: dict[type[Message], str] = {
    commands.SubmitRun: "instance_id",
    commands.CancelRun: "run_id",
    requests.RequestStatusChanged: "run_id",
    decisions.Decision: "run_id",
    prefect.FlowRunStateObserved: "flow_run_id",
    reports.Report: "run_id",
    runs.RunStatusChanged: "run_id",
    runs.RunProgressed: "run_id",
    instances.InstanceCommand: "tenant",
    instances.InstanceStatusChanged: "instance_id",
    activities.ActivityRecorded: "tenant",
}
_KEY_OF = {message: next(_KEY_FIELDS[base] for base in message.__mro__ if base in _KEY_FIELDS) for message in _TOPIC_OF}
_BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}


def topic_of(message: Message | type[Message]) -> Topic:
    """The topic of a message, or of all messages of a type."""
    return _TOPIC_OF[message if isinstance(message, type) else type(message)]


def topic_named(name: str) -> Topic:
    """Raises: KeyError."""
    return _BY_NAME[name]


def key_of(message: Message) -> bytes:
    """The record's key: all messages about one entity lie in one partition."""
    return str(getattr(message, key_field_of(type(message)))).encode()


def key_field_of(model: type[Message]) -> str:
    """The field that is the key of such messages. Raises: TypeError where they belong to no topic."""
    field = _KEY_OF.get(model)
    if field is None:
        raise TypeError(f"{model.__name__} belongs to no topic")
    return field
