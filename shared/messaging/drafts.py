"""A message as it is about to be said: of which topic, under which key, with which value.

Made of a model by `draft_of`, or by a writer that checks and encodes the fields without making the model of them
(docs/adr/0018). The model stays the only definition: a writer's bytes are what the model would dump, and whatever the
writer is not sure of goes to the model, which accepts it or gives the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from types import NoneType
from typing import Annotated, Any, Literal, ParamSpec, cast, get_origin
from uuid import UUID

import msgspec
from pydantic import Field, TypeAdapter
from runtide_schemas.message import Message, Part, Time
from runtide_schemas.topics import key_field_of, key_of, topic_of

from shared.messaging.structs import kinds_of, said_of

P = ParamSpec("P")
_AS_THEY_ARE = (UUID, datetime, date)  # never read from text: a model takes none for them
_PLAIN = frozenset({str, int, float, bool, UUID, date, NoneType, Time})
_LARGE = 1e15  # from 1e16 on msgspec writes 1e16, and pydantic 1e+16
_encode = msgspec.json.Encoder().encode


class Draft(msgspec.Struct, frozen=True, gc=False):
    """What the outbox keeps of a message, but for its envelope; `topic` without prefix."""

    type: str
    topic: str
    key: bytes
    payload: bytes


def draft_of(message: Message) -> Draft:
    """The draft of a message that was made as a model."""
    return Draft(message.type, topic_of(message).name, key_of(message), message.to_json())


def writer_of(made: Callable[P, Message]) -> Callable[P, Draft]:
    """Takes what the model's constructor takes, and raises what it raises."""
    model = cast("type[Message]", made)
    value_of, key_field = _Values(model).value_of, key_field_of(model)
    wire_type, topic = model.wire_type(), topic_of(model).name

    def write(*args: P.args, **fields: P.kwargs) -> Draft:
        try:
            payload = value_of(fields)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            payload = None
        if payload is None:
            return draft_of(made(*args, **fields))
        return Draft(wire_type, topic, str(fields[key_field]).encode(), payload)

    return write


_Foreign = tuple[str, type, Any, Any, Callable[[Any], msgspec.Raw]]  # name, default's type, default, its JSON, dump


class _Values:
    """Encodes the fields of one model. What msgspec has no words for is checked and dumped by pydantic, by itself."""

    def __init__(self, model: type[Message]) -> None:
        self._by_pydantic: list[_Foreign] = []
        fields: list[Any] = []
        for name, info in model.model_fields.items():
            said, default = _said_plainly(model, name), info.default
            if said is None:
                said, dump = msgspec.Raw, dump_of(model, name)
                default = default if info.is_required() else dump(default)
                self._by_pydantic.append((name, type(info.default), info.default, default, dump))
            fields.append((name, said) if info.is_required() else (name, said, default))
        self._struct = msgspec.defstruct(model.__name__, fields, kw_only=True, frozen=True, gc=False)
        kinds = kinds_of(model)
        self._times = [name for name in kinds if Time in kinds[name]]
        self._numbers = [name for name in kinds if float in kinds[name]]
        enums = [name for name in kinds if any(map(_is_enum, kinds[name]))]
        self._enums = [(name, model.model_fields[name].default) for name in enums]

    def value_of(self, fields: Mapping[str, Any]) -> bytes | None:
        """The value, or None where only the model can say. Raises: many things, where it is for the model to say."""
        values = dict(fields)
        for name, kind, default, said_default, dump in self._by_pydantic:
            value = values.get(name, default)
            values[name] = said_default if type(value) is kind and value == default else dump(value)
        said = msgspec.convert(values, self._struct, builtin_types=_AS_THEY_ARE)
        for name, default in self._enums:
            if fields.get(name, default) is not getattr(said, name):
                return None  # a word instead of the enum's member
        for name in self._times:
            time = values.get(name)
            if time is not None and time.tzinfo is not UTC:
                return None
        for name in self._numbers:
            number = values.get(name)
            if number is not None and (type(number) is not float or not -_LARGE < number < _LARGE):  # nor is NaN
                return None
        value = _encode(said)
        return None if b"\\" in value and b"\\u" in value else value  # NUL, which the model may replace


def _said_plainly(model: type[Message], name: str) -> Any:
    """A field's type in msgspec's words where both say its values alike; else None."""
    if not all(kind in _PLAIN or _is_enum(kind) or get_origin(kind) is Literal for kind in kinds_of(model)[name]):
        return None
    try:
        return said_of(model, name)
    except TypeError:
        return None


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, StrEnum)


def dump_of(model: type[Message], name: str) -> Callable[[Any], msgspec.Raw]:
    """A field's own validation and JSON, as in its model."""
    info = model.model_fields[name]
    kind: Any = info.annotation
    has_its_own = isinstance(kind, type) and issubclass(kind, Part)
    adapter: TypeAdapter[Any] = TypeAdapter(
        Annotated[kind, Field(), *info.metadata], config=None if has_its_own else Part.model_config
    )
    validate, to_json = adapter.validator.validate_python, adapter.serializer.to_json
    return lambda value: msgspec.Raw(to_json(validate(value)))
