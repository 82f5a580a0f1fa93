"""Interleaved rounds of floor and ours, and what is said of them."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

RESULTS = Path(__file__).resolve().parent / "results"
Round = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One goal: ours against its floor, pair by pair. `better`: which side of the goal is good. `wanted` None: a scale,
    without a verdict.
    """

    goal: str
    what: str
    unit: str
    floor: float
    ours: float
    ratio: float
    worst_ratio: float
    wanted: float | None
    better: Literal["higher", "lower"]
    rounds: int

    @property
    def reached(self) -> bool:
        if self.wanted is None:
            return True
        return self.ratio >= self.wanted if self.better == "higher" else self.ratio <= self.wanted

    def line(self) -> str:
        if self.wanted is None:
            verdict = "(a scale)"
        else:
            sign = ">=" if self.better == "higher" else "<="
            verdict = f"({sign} {self.wanted:g}) {'reached' if self.reached else 'NOT reached'}"
        return (
            f"{self.goal:<6} {self.what:<58} floor {self.floor:>10.1f} ours {self.ours:>10.1f} {self.unit:<9} "
            f"ratio {self.ratio:5.2f} {verdict}"
        )


class Floor(NamedTuple):
    """What ours is held against: its words, the ratio wanted (None: a scale), and a round of it."""

    what: str
    wanted: float | None
    round: Round


async def compare(
    goal: str, what: str, *, floor: Round, ours: Round, wanted: float, unit: str,
    better: Literal["higher", "lower"] = "higher", rounds: int = 5,
) -> Figure:  # fmt: skip
    """Floor and ours in turn, one warm-up each; the median of the paired ratios is the evidence."""
    [figure] = await compare_all(
        goal, floors=[Floor(what, wanted, floor)], ours=ours, unit=unit, better=better, rounds=rounds
    )
    return figure


async def compare_all(
    goal: str, *, floors: Sequence[Floor], ours: Round, unit: str,
    better: Literal["higher", "lower"] = "higher", rounds: int = 5,
) -> list[Figure]:  # fmt: skip
    """Each floor and then ours, round after round: one measurement of ours is paired with every floor of its round."""
    measured = [[*[await floor.round() for floor in floors], await ours()] for _ in range(rounds + 1)][1:]
    mine = [row[-1] for row in measured]
    return [
        figure_of(
            goal, floor.what, floors=[row[number] for row in measured], ours=mine, wanted=floor.wanted, unit=unit,
            better=better,
        )
        for number, floor in enumerate(floors)
    ]  # fmt: skip


def figure_of(
    goal: str, what: str, *, floors: Sequence[float], ours: Sequence[float], wanted: float | None, unit: str,
    better: Literal["higher", "lower"],
) -> Figure:  # fmt: skip
    """The medians of what was measured round by round, and of the paired ratios."""
    ratios = [own / base for own, base in zip(ours, floors, strict=True)]
    worst = min if better == "higher" else max
    return Figure(
        goal, what, unit, statistics.median(floors), statistics.median(ours), statistics.median(ratios),
        worst(ratios), wanted, better, len(ratios),
    )  # fmt: skip


def keep(figures: list[Figure]) -> Path:
    """Write the figures of this run; `results/` is the record."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "latest.json"
    said = {"python": platform.python_version(), "figures": [asdict(figure) for figure in figures]}
    path.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return path
