"""A msgspec Struct made from a message's model: reads what is plainly right, and leaves everything else to the model.

For topics that only we write, whose handlers do nothing but read attributes (docs/adr/0008). The model stays the only
definition: the Struct is made of its fields when the process starts, and refuses whatever it is not sure of, so that
the model's adapter decides on it and gives the reason. Fields of foreign objects are not read at all. Of a time with
more digits than microseconds the Struct rounds what the model cuts off; our writers write no such time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from annotated_types import Ge, Le
from msgspec import Meta
from pydantic.fields import FieldInfo
from runtide_schemas.message import ForeignObject, LongText, Message, Part, Text, Time
from runtide_schemas.topics import Topic

_LONG = 10_000
_PLAIN = frozenset({str, int, float, bool, UUID, date, NoneType})
_NAMED: dict[Any, Any] = {
    Text: str,
    LongText: Annotated[str, Meta(max_length=_LONG)],
    Time: Annotated[datetime, Meta(tz=True)],
}


def reader_of(topic: Topic) -> Callable[[bytes], Any]:
    """Reads a value of a topic with one type of message, as `topic.adapter.validate_json` does, and raises as it does.

    Raises:
        TypeError: the topic has several types, or its model a field that no Struct can say.
    """
    if len(topic.messages) != 1:
        raise TypeError(f"{topic.name} has {len(topic.messages)} types of messages; one can be read this way")
    [model] = topic.messages
    decode = msgspec.json.Decoder(struct_of(model)).decode
    validate = topic.adapter.validate_json
    times = tuple(name for name, kinds in kinds_of(model).items() if Time in kinds)

    def read(value: bytes) -> Any:
        try:
            if b"\\u" in value:  # NUL and halves of surrogates come in this form only
                return validate(value)
            message = decode(value)
            for name in times:
                time = getattr(message, name)
                if time is not None and time.tzinfo is not UTC:
                    return validate(value)
            return message
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return validate(value)

    return read


def struct_of(model: type[Message]) -> type[msgspec.Struct]:
    """The Struct with the model's fields, types, limits and defaults."""
    fields: list[Any] = []
    for name, hint in _hints(model).items():
        if ForeignObject in (hint, *get_args(hint)):
            continue
        said, info = said_of(model, name), model.model_fields[name]
        if info.is_required() or name == "type":  # which has a default in Python, and is required on the wire
            fields.append((name, said))
        elif info.default == []:
            fields.append((name, said, msgspec.field(default_factory=list)))
        else:
            fields.append((name, said, info.default))
    return msgspec.defstruct(model.__name__, fields, kw_only=True, frozen=True, gc=False)


def bare_of(model: type[Part]) -> type[msgspec.Struct]:
    """A Struct with the model's fields, in their order, and its defaults, that checks nothing: to write values that
    were checked when they came.
    """
    fields: list[Any] = [
        (name, Any) if info.is_required() else (name, Any, info.default) for name, info in model.model_fields.items()
    ]
    return msgspec.defstruct(model.__name__, fields, kw_only=True, frozen=True, gc=False)


def said_of(model: type[Message], name: str) -> Any:
    """A field's type and limits in msgspec's words.

    Raises:
        TypeError: msgspec has no words for it.
    """
    hint, place = _hints(model)[name], f"{model.__name__}.{name}"
    if hint in _NAMED:
        return _NAMED[hint]
    bare = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return _limited(_said(bare, place), model.model_fields[name].metadata, place)


def kinds_of(model: type[Message]) -> dict[str, frozenset[Any]]:
    """Field → the types that its value may have, without limits; a `Time` is told from other times."""
    return {name: frozenset(_kinds(hint)) for name, hint in _hints(model).items()}


def _kinds(hint: Any) -> Iterator[Any]:
    if get_origin(hint) in (Union, UnionType):
        for part in get_args(hint):
            yield from _kinds(part)
    elif get_origin(hint) is Annotated and hint != Time:
        yield from _kinds(get_args(hint)[0])
    else:
        yield hint


@cache
def _hints(model: type[Message]) -> dict[str, Any]:
    hints = get_type_hints(model, include_extras=True)
    return {name: hints[name] for name in model.model_fields}


def _said(hint: Any, place: str) -> Any:
    """The same type in msgspec's words."""
    if hint in _NAMED:
        return _NAMED[hint]
    if hint in _PLAIN or get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, StrEnum)):
        return hint
    if get_origin(hint) is Annotated:
        bare, *said_of_it = get_args(hint)
        limits = [one for said in said_of_it for one in (said.metadata if isinstance(said, FieldInfo) else [said])]
        return _limited(_said(bare, place), limits, place)
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(_said(part, place) for part in get_args(hint))]  # noqa: UP007
    if get_origin(hint) is list:
        return list[_said(get_args(hint)[0], place)]  # type: ignore[misc]
    raise TypeError(f"{place} is a {hint}; no Struct can be made of it")


def _limited(said: Any, metadata: Sequence[Any], place: str) -> Any:
    """With the limits that the field itself carries."""
    limits: dict[str, Any] = {}
    for limit in metadata:
        pattern = getattr(limit, "pattern", None)
        if isinstance(limit, Ge):
            limits["ge"] = limit.ge
        elif isinstance(limit, Le):
            limits["le"] = limit.le
        elif isinstance(pattern, str):
            limits["pattern"] = re.sub(r"\$$", r"\\Z", pattern)  # Python's $ allows a newline after it
        else:
            raise TypeError(f"{place} is limited by {limit!r}; no Struct can say that")
    return Annotated[said, Meta(**limits)] if limits else said
