"""A digest of content: the same data has the same digest, whoever computes it, in whatever chunks it lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest_of(content: Any) -> str:
    """`sha256:<hex>` of a data frame (pandas, Arrow, polars), a NumPy array, bytes, text, or JSON-like data.

    Of a frame count the names, types and values of its columns and of its index, in order; metadata, row groups and
    compression do not. NaN equals NaN, and -0.0 equals 0.0.

    Raises: TypeError for anything else.
    """
    sha256 = hashlib.sha256()
    if isinstance(content, bytes | bytearray | memoryview):
        sha256.update(content)
    elif isinstance(content, str):
        sha256.update(content.encode())
    elif (table := as_table(content)) is not None:
        for name, column in zip(table.column_names, table.columns, strict=True):
            sha256.update(f"{name}\0{column.type}\0{len(column)}\0".encode())
            _update_with_column(sha256, column)
    elif type(content).__module__.partition(".")[0] == "numpy" and hasattr(content, "tobytes"):
        sha256.update(f"{content.dtype}\0{content.shape}\0".encode())
        sha256.update(_canonical(content))
    elif isinstance(content, dict | list | tuple):
        sha256.update(json.dumps(content, sort_keys=True, separators=(",", ":"), default=str).encode())
    else:
        raise TypeError(f"cannot digest a {type(content).__name__}; allowed are frames, arrays, bytes, text and JSON")
    return f"sha256:{sha256.hexdigest()}"


def schema_digest_of(frame: Any) -> str:
    """`sha256:<hex>` of the names and types of the columns of a data frame (pandas, Arrow, polars), in order.

    How many rows there are and what they hold does not count, nor how they are stored: categories are their values.

    Raises: TypeError for anything else.
    """
    columns = columns_of(frame)
    if columns is None:
        raise TypeError(f"cannot take the schema of a {type(frame).__name__}; allowed are frames")
    return schema_digest({"": columns})


def columns_of(content: Any) -> list[tuple[str, str]] | None:
    """Name and type of each column of a frame; None for what is none."""
    table = as_table(content)
    if table is None:
        return None
    return [(name, _type_of(column)) for name, column in zip(table.column_names, table.columns, strict=True)]


def schema_digest(frames: Mapping[str, list[tuple[str, str]]]) -> str:
    """Of the columns of several frames by name. Where there is one, its name does not count."""
    [*columns] = frames.values()
    said = columns[0] if len(columns) == 1 else dict(frames)
    return f"sha256:{hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()}"


def _type_of(column: Any) -> str:
    kind = column.type
    return str(getattr(kind, "value_type", kind)) if str(kind).startswith("dictionary") else str(kind)


def as_table(content: Any) -> Any | None:
    """The Arrow table of a data frame or series; None for what is neither."""
    module = type(content).__module__.partition(".")[0]
    if module == "pyarrow" and hasattr(content, "column_names"):
        return content
    if module == "polars" and hasattr(content, "to_arrow"):
        return content.to_frame().to_arrow() if hasattr(content, "to_frame") else content.to_arrow()
    if module == "pandas":
        import pyarrow

        frame = content.to_frame() if hasattr(content, "to_frame") else content
        return pyarrow.Table.from_pandas(frame) if hasattr(frame, "columns") else None
    return None


def _update_with_column(sha256: Any, column: Any) -> None:
    import pyarrow

    kind = column.type
    if pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind) or pyarrow.types.is_temporal(kind):
        if column.null_count:
            sha256.update(column.is_null().to_numpy(zero_copy_only=False).tobytes())
            column = column.drop_null()
        sha256.update(_canonical(column.to_numpy(zero_copy_only=False)))
    else:
        for value in column.to_pylist():
            sha256.update(f"{value!r}\0".encode())


def _canonical(values: Any) -> bytes:
    if values.dtype.kind == "f":
        values = values + 0.0
        values[values != values] = float("nan")
    if values.dtype.kind == "O":
        return "\0".join(repr(value) for value in values.ravel().tolist()).encode()
    return bytes(values.tobytes())
