"""What a chaos run prints: faults per kind, messages, and each invariant with what contradicts it."""

from __future__ import annotations

import msgspec

from tests.chaos.storm import Plan, Result

MEANING = {
    "I1": "each acknowledged command has its answer",
    "I2": "at most one flow run of a run",
    "I3": "the outbox empties, in the order of commits",
    "I4": "seq without gaps, each with one payload",
    "I5": "our ends are Prefect's",
    "I6": "dead letters are the poison, byte for byte",
    "I7": "lineage is what its runs say from scratch",
    "I8": "a client sees the database, and no other tenant",
    "I9": "reading all again changes and sends nothing",
    "I10": "read again soon after each fault",
}
SHOWN = 8


def lines(result: Result) -> list[str]:
    said = [f"chaos, seed {result.seed}: {sum(result.faults.values())} faults, {result.messages} messages sent"]
    said += [f"  {count:4} × {kind}" for kind, count in sorted(result.faults.items())]
    said.append("  sent: " + "; ".join(f"{kind} {_words(counts)}" for kind, counts in result.outcomes.items()))
    said.append(f"  {result.runs} flow runs; records: " + ", ".join(f"{n} {t}" for t, n in result.records.items()))
    slowest = max(((took or 0.0, name) for name, took in result.behind.items()), default=(0.0, ""))
    said.append(f"  slowest to be read again: {slowest[0]:.1f} s after {slowest[1]}")
    said.append("  " + ", ".join(f"{what} {seconds} s" for what, seconds in result.seconds.items()))
    for name, found in result.found.items():
        said.append(f"  {name:<4} {'holds ' if not found else 'BROKEN'} {MEANING[name]}")
        said += [f"         {one}" for one in found[:SHOWN]]
        said += [f"         … and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    if not result.holds:
        said.append(f"  again: make chaos SEED={result.seed}")
    return said


def kept(plan: Plan, result: Result) -> str:
    """The same as JSON, with the plan: what `benchmarks/results` keeps of a long run."""
    said = {"plan": msgspec.to_builtins(plan), **msgspec.to_builtins(result)}
    return msgspec.json.format(msgspec.json.encode(said), indent=2).decode() + "\n"


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
