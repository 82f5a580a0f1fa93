"""Merging a table by session: what a refresh adds, changes and takes away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Merged:
    """The new table and what became of its rows; a row is one value of one session and stock."""

    frame: pd.DataFrame
    inserted: int
    updated: int
    deleted: int


def merge(previous: pd.DataFrame | None, fetched: pd.DataFrame, mode: str) -> Merged:
    """Incremental keeps what is there and adds later sessions; overwrite (and preview) takes what was fetched."""
    import pandas as pd

    width = fetched.shape[1]
    if previous is None or list(previous.columns) != list(fetched.columns):
        return Merged(fetched, fetched.size, 0, 0 if previous is None else previous.size)
    if mode == "incremental":
        later = fetched.loc[fetched.index > previous.index[-1]]
        return Merged(pd.concat([previous, later]), len(later) * width, 0, 0)
    common = previous.index.intersection(fetched.index)
    before, after = previous.loc[common], fetched.loc[common]
    changed = int(((before != after) & ~(before.isna() & after.isna())).to_numpy().sum())
    return Merged(fetched, (len(fetched) - len(common)) * width, changed, (len(previous) - len(common)) * width)
