"""What a refresh adds, changes and takes away."""

import pandas as pd
import pytest

from examples.quant.tables import merge

DAYS = pd.to_datetime(["2025-01-02", "2025-01-03", "2025-01-06"])


def table(*values, days=DAYS):
    return pd.DataFrame({"A": values, "B": values}, index=days[-len(values) :], dtype=float)


def counts(merged):
    return merged.inserted, merged.updated, merged.deleted


def test_the_first_time_everything_is_inserted():
    assert counts(merge(None, table(1, 2, 3), "incremental")) == (6, 0, 0)


def test_incremental_adds_later_sessions_and_keeps_what_is_there():
    merged = merge(table(1, 2, days=DAYS[:2]), table(9, 9, 3), "incremental")
    assert counts(merged) == (2, 0, 0)
    assert merged.frame["A"].tolist() == [1, 2, 3]


def test_incremental_without_news_changes_nothing():
    assert counts(merge(table(1, 2, 3), table(1, 2, 3), "incremental")) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["overwrite", "preview"])
def test_overwrite_takes_what_was_fetched_and_counts_the_difference(mode):
    merged = merge(table(1, 2, 3), table(2, 4), mode)
    assert counts(merged) == (0, 2, 2)
    assert merged.frame["A"].tolist() == [2, 4]


def test_other_columns_are_another_table():
    assert counts(merge(table(1, 2, 3), table(1, 2, 3).rename(columns={"B": "C"}), "incremental")) == (6, 0, 6)
