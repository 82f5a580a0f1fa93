"""A digest says whether content changed, and nothing else."""

import numpy
import pyarrow
import pytest
from runtide.flow import digest_of, schema_digest_of

TABLE = pyarrow.table({"day": ["a", "b", "c"], "value": [1.0, None, 3.0], "count": [1, 2, 3]})


def test_chunks_slices_and_metadata_do_not_count():
    chunked = pyarrow.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    assert digest_of(chunked) == digest_of(TABLE) == digest_of(TABLE.replace_schema_metadata({"a": "b"}))


@pytest.mark.parametrize(
    "other",
    [
        TABLE.slice(0, 2),
        TABLE.select(["value", "day", "count"]),
        TABLE.rename_columns(["day", "worth", "count"]),
        TABLE.set_column(1, "value", pyarrow.array([1.0, 2.0, 3.0])),
        TABLE.set_column(1, "value", pyarrow.array([1.0, 3.0, None])),
        TABLE.set_column(2, "count", pyarrow.array([1.0, 2.0, 3.0])),
    ],
)
def test_rows_order_names_values_nulls_and_types_count(other):
    assert digest_of(other) != digest_of(TABLE)


def test_zero_has_no_sign_and_every_nan_is_the_same():
    odd = numpy.array([0x7FF8000000000001], dtype=numpy.uint64).view(numpy.float64)
    assert digest_of(numpy.array([-0.0])) == digest_of(numpy.array([0.0]))
    assert digest_of(odd) == digest_of(numpy.array([numpy.nan]))


def test_an_array_is_not_changed_by_being_digested():
    values = numpy.array([numpy.nan, -0.0])
    digest_of(values)
    assert numpy.signbit(values[1])


def test_the_order_of_keys_does_not_count():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 2, "b": 1})


def test_bytes_and_text_have_the_digest_that_everybody_computes():
    assert digest_of(b"abc") == digest_of("abc")
    assert digest_of(b"abc").startswith("sha256:ba7816bf")


def test_what_has_no_content_is_refused():
    with pytest.raises(TypeError, match="allowed"):
        digest_of(object())


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (TABLE.slice(0, 1), True),
        (TABLE.set_column(1, "value", pyarrow.array([9.0, 9.0, 9.0])), True),
        (TABLE.set_column(0, "day", TABLE["day"].dictionary_encode()), True),
        (TABLE.replace_schema_metadata({"a": "b"}), True),
        (TABLE.rename_columns(["day", "worth", "count"]), False),
        (TABLE.set_column(2, "count", pyarrow.array([1.0, 2.0, 3.0])), False),
        (TABLE.select(["value", "day", "count"]), False),
        (TABLE.drop_columns(["count"]), False),
    ],
)
def test_a_schema_is_the_names_and_types_of_columns_in_order_and_nothing_else(other, same):
    assert (schema_digest_of(other) == schema_digest_of(TABLE)) is same


def test_what_has_no_columns_has_no_schema():
    with pytest.raises(TypeError, match="allowed are frames"):
        schema_digest_of({"a": 1})
