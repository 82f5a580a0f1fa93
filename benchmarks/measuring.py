"""Interleaved rounds of floor and ours, and what is said of them."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

RESULTS = Path(__file__).resolve().parent / "results"
Round = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Figure:
    """One goal: ours against its floor, pair by pair. `better`: which side of the goal is good."""

    goal: str
    what: str
    unit: str
    floor: float
    ours: float
    ratio: float
    worst_ratio: float
    wanted: float
    better: Literal["higher", "lower"]
    rounds: int

    @property
    def reached(self) -> bool:
        return self.ratio >= self.wanted if self.better == "higher" else self.ratio <= self.wanted

    def line(self) -> str:
        sign = ">=" if self.better == "higher" else "<="
        return (
            f"{self.goal:<6} {self.what:<58} floor {self.floor:>10.1f} ours {self.ours:>10.1f} {self.unit:<9} "
            f"ratio {self.ratio:5.2f} ({sign} {self.wanted:g}) {'reached' if self.reached else 'NOT reached'}"
        )


async def compare(
    goal: str, what: str, *, floor: Round, ours: Round, wanted: float, unit: str,
    better: Literal["higher", "lower"] = "higher", rounds: int = 5,
) -> Figure:  # fmt: skip
    """Floor and ours in turn, one warm-up each; the median of the paired ratios is the evidence."""
    await floor()
    await ours()
    pairs = [(await floor(), await ours()) for _ in range(rounds)]
    ratios = [mine / base for base, mine in pairs]
    return Figure(
        goal, what, unit, statistics.median(base for base, _ in pairs), statistics.median(mine for _, mine in pairs),
        statistics.median(ratios), min(ratios) if better == "higher" else max(ratios), wanted, better, rounds,
    )  # fmt: skip


def keep(figures: list[Figure]) -> Path:
    """Write the figures of this run; `results/` is the record."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "latest.json"
    said = {"python": platform.python_version(), "figures": [asdict(figure) for figure in figures]}
    path.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return path
