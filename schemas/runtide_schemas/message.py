"""What every message is: frozen, strict for its writer, tolerant for its reader.

Strict: a field of the wrong type is an error, in Python and in JSON (JSON's strings are read as dates, UUIDs and enums,
numbers are not read from strings); numbers are finite; times know their zone. Tolerant: unknown fields are ignored, and
whatever is not needed to know what the message is about has a default, so that an old writer's message stays readable.
`type` has a default in Python and is required on the wire.
"""

import math
from datetime import UTC, date, datetime
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, to_json

from runtide_schemas import vocabulary
from runtide_schemas.vocabulary import FlowKind

MAX_JSON_BYTES = 64 * 1024
LIST_LIMIT = 100


def _utc(time: datetime) -> datetime:
    if time.tzinfo is UTC:
        return time
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time outside the years 1 to 9999 in UTC") from None


def _without_nul(text: str) -> str:
    """PostgreSQL stores no NUL, and no error message is worth losing for one."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _cut(length: int) -> AfterValidator:
    """A free text that is too long is cut, not refused: it must fit into a snapshot, and is for people."""
    return AfterValidator(lambda text: text if len(text) <= length else text[: length - 1] + "…")


def _cleaned_object(value: dict[str, Any]) -> dict[str, Any]:
    """Looked through only where its JSON holds a NUL: that is asked in one pass of compiled code."""
    return _cleaned(value) if b"\\u0000" in to_json(value) else value


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return _without_nul(value)
        case dict():
            return {_without_nul(key): _cleaned(item) for key, item in value.items()}
        case list():
            return [_cleaned(item) for item in value]
        case _:
            return value


def check_json(value: Any, path: str = "") -> None:
    """Raises: ValueError naming the place of a number that is not finite, a NUL, or something that is not JSON."""
    if value is None or isinstance(value, bool | int):
        return
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError(f"{path or 'the text'} contains a NUL character")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path or 'the number'} is {value}, allowed are finite numbers")
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{path or 'the object'} has the key {key!r}, allowed are strings")
            check_json(key, f"a key of {path or 'the object'}")
            check_json(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_json(item, f"{path}[{index}]")
    else:
        raise ValueError(f"{path or 'the value'} is a {type(value).__name__}, allowed is JSON")


def _checked_object(value: dict[str, Any]) -> dict[str, Any]:
    check_json(value)
    size_bytes = len(to_json(value))
    if size_bytes > MAX_JSON_BYTES:
        raise ValueError(
            f"{size_bytes} bytes of JSON, allowed are {MAX_JSON_BYTES}; put what is large into an artifact"
        )
    return value


def _flow_kind(value: Any) -> Any:
    return vocabulary.flow_kind_of(value) if isinstance(value, str) else value


def _name(text: str) -> str:
    if not vocabulary.is_name(text):
        raise ValueError(
            f"{text[:80]!r} is no name; allowed are 1 to 128 letters, digits, '.', '_' and '-', "
            "a letter or digit first, and not a UUID"
        )
    return text


Time = Annotated[AwareDatetime, AfterValidator(_utc)]
"""An instant, aware, in UTC; on the wire ISO 8601 with `Z`. A naive time is refused."""
Day = date
TenantText = Annotated[str, Field(pattern=vocabulary.TENANT_PATTERN)]
NameText = Annotated[str, Field(pattern=vocabulary.NAME_PATTERN), AfterValidator(_name)]
"""A name, and not a UUID: what an instance can be registered under."""
InstanceText = Annotated[str, Field(pattern=vocabulary.NAME_PATTERN)]
"""A name or a UUID: `vocabulary.instance_id_of` makes the id of it. (Every UUID matches the pattern of names.)"""
Text = Annotated[str, AfterValidator(_without_nul)]
Label = Annotated[Text, _cut(200)]
Sentence = Annotated[Text, _cut(2_000)]
LongText = Annotated[Text, _cut(10_000)]
CommandIdText = Annotated[str, Field(min_length=1, max_length=vocabulary.COMMAND_ID_MAX_LENGTH, pattern=r"^[^\x00]*$")]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Attempt = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seq = Annotated[int, Field(ge=1, le=2**63 - 1)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_checked_object)]
"""An object from outside: JSON that PostgreSQL can store, at most 64 KiB."""
ForeignObject = Annotated[dict[str, Any], AfterValidator(_cleaned_object)]
"""What somebody else made, kept for the record: nothing is refused, NUL is replaced."""
FlowKindText = Annotated[
    FlowKind,
    BeforeValidator(_flow_kind),
    WithJsonSchema({"type": "string", "enum": [*FlowKind, *vocabulary.FLOW_KIND_ALIASES]}),
]
"""A flow kind as users write it: the short words are read as the long ones."""


class Part(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class Message(Part):
    """One record's value on a topic."""

    type: str

    def to_json(self) -> bytes:
        """The value of the Kafka record: the fields alone, without envelope."""
        return self.__pydantic_serializer__.to_json(self)

    @classmethod
    def from_json(cls, value: bytes | str) -> Self:
        """For a reader that knows the type already; consumers read with `Topic.adapter`."""
        return cls.model_validate_json(value)

    @classmethod
    def wire_type(cls) -> str:
        return str(cls.model_fields["type"].default)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        resolved = handler.resolve_ref_schema(schema)
        resolved["required"] = ["type", *(name for name in resolved.get("required", []) if name != "type")]
        return schema


class TenantMessage(Message):
    """All but Prefect's own observations belong to a tenant."""

    tenant: TenantText


def reason_of(error: ValidationError) -> str:
    """One sentence per fault, the first three: the field, what was got, what is allowed."""
    faults = error.errors(include_url=False, include_context=False)
    sentences = []
    for fault in faults[:3]:
        place = ".".join(str(step) for step in fault["loc"]) or "the message"
        message = fault["msg"].removeprefix("Value error, ")
        got = "" if isinstance(fault["input"], dict | list) else f" (got {shown(fault['input'])})"
        sentences.append(f"{place}: {message}{got}")
    if len(faults) > 3:
        sentences.append(f"and {len(faults) - 3} more")
    return "; ".join(sentences).replace("\0", "\ufffd")


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
